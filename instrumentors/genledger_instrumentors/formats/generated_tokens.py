"""What the `generate` of Transformers' models is given and returns, tensors of tokens; and what its pipelines do.

https://huggingface.co/docs/transformers/main_classes/text_generation. A decoder's result begins with its prompt. Rows
that ended early are filled up with the padding token, which often is the one that ends a text as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import field


def inputs_of(given: Mapping[str, Any]) -> Any:
    """Return what a pipeline is given, by the names of several kinds of it."""
    return next((given[name] for name in ("inputs", "text_inputs", "images", "text") if name in given), None)


def conversations(asked: Any) -> list[list[Any]]:
    """Return the messages of each conversation in what a pipeline is given; none, if that is texts."""
    if type(asked).__name__ == "Chat":
        return [list(asked.messages)]
    if not isinstance(asked, (list, tuple)) or not asked:
        return []
    if isinstance(asked[0], Mapping) and "role" in asked[0]:
        return [list(asked)]
    return [chat for one in asked for chat in conversations(one)]


def said(result: Any) -> list[str]:
    """Return the texts in the result of a pipeline, however deep they are."""
    if isinstance(result, (list, tuple)):
        return [text for one in result for text in said(one)]
    if not isinstance(result, Mapping):
        return []
    found = [value for key, value in result.items() if str(key).endswith(("generated_text", "_text"))]
    if found and isinstance(found[0], (list, tuple)):  # a conversation: its last message is new
        found = [field(found[0][-1], "content")] if found[0] else []
    return [text for text in found if isinstance(text, str)]


def _sequences(result: Any) -> Any:
    return result if hasattr(result, "shape") else field(result, "sequences")


def _ending(given: Mapping[str, Any], config: Any) -> set[Any]:
    asked = given.get("eos_token_id", field(config, "eos_token_id"))
    return set(asked) if isinstance(asked, (list, tuple)) else {asked}


def _prompt(given: Mapping[str, Any]) -> Any:
    return next((given[name] for name in ("input_ids", "inputs") if given.get(name) is not None), None)


def _rows(given: Mapping[str, Any], result: Any, config: Any, encodes: bool) -> list[list[int]]:
    """Return the tokens of each result that were generated, without what fills a row up."""
    prompt, sequences = _prompt(given), _sequences(result)
    start = 1 if encodes else prompt.shape[-1] if prompt is not None else 0
    padding, ending = given.get("pad_token_id", field(config, "pad_token_id")), _ending(given, config)
    rows = []
    for row in sequences[:, start:].tolist():
        end = next((at + 1 for at, token in enumerate(row) if token in ending), None)
        while end is None and row and row[-1] == padding:
            row.pop()
        rows.append(row[:end])
    return rows


def _given_tokens(given: Mapping[str, Any]) -> int | None:
    prompt, mask, vectors = _prompt(given), given.get("attention_mask"), given.get("inputs_embeds")
    if mask is not None and mask.ndim == 2:
        return int(mask.sum())
    if prompt is not None and prompt.ndim == 2 and not prompt.is_floating_point():
        return int(prompt.numel())
    return None if vectors is None else int(vectors.shape[0] * vectors.shape[1])


def read_generated(given: Mapping[str, Any], result: Any, config: Any, encodes: bool) -> dict[str, Any]:
    """Return how many tokens a model was given and generated, and why each result ended, in OpenAI's format.

    Args:
        given: The arguments.
        result: The tokens of each result, or an object with them.
        config: The options of the generation.
        encodes: Whether the model has an encoder: its result begins with one token that was not generated.
    """
    rows, ending, prompt = _rows(given, result, config, encodes), _ending(given, config), _given_tokens(given)
    usage = {"completion_tokens": sum(map(len, rows)), **({} if prompt is None else {"prompt_tokens": prompt})}
    reasons = ["stop" if row and row[-1] in ending else "length" for row in rows]
    return {"usage": usage, "choices": [{"finish_reason": reason} for reason in reasons]}
