"""Transformers, 4.52 to 5.x: what generates text, and embeds it, in this process.

Library: https://github.com/huggingface/transformers. A pipeline generates by the model's `generate`, for each of its
inputs; that is counted as a part of it. Tokens are counted by the sizes of what went in and came out. A pipeline over a
dataset or a generator hands out its results one by one: there, each `generate` is a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Operation, integer
from genledger.instrumentation.adapters.local_models import Given, LocalMethod, LocalModels, in_process, item_count
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.generated_tokens import conversations, inputs_of, read_generated, said
from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_chat import COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS

_LIMIT = {"max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer)}


def _generates(operation: Operation) -> Operation:
    fields = {**operation.fields, **_LIMIT}
    return in_process(operation._replace(accumulate=None, fields=fields, limit=("max_new_tokens",)))


CHAT, COMPLETION, EMBEDDINGS = _generates(OPENAI_CHAT), _generates(COMPLETIONS), in_process(OPENAI_EMBEDDINGS)

_GENERATING = frozenset({"text-generation", "text2text-generation", "summarization", "translation", "any-to-any"})
_SEEING = frozenset({"image-text-to-text", "image-to-text", "visual-question-answering", "document-question-answering"})


def operation(pipeline: Any, given: Given) -> Operation | None:
    """Return what a pipeline does; `None` if it neither generates nor embeds, or hands its results out one by one."""
    asked = inputs_of(given)
    if not isinstance(asked, (str, list, tuple, dict)) and type(asked).__name__ != "Chat":
        return None
    task = str(pipeline.task)
    if task == "feature-extraction":
        return EMBEDDINGS
    if task in _GENERATING or task in _SEEING or task.startswith("translation"):
        return CHAT if conversations(asked) else COMPLETION
    return None


def body(pipeline: Any, given: Given) -> dict[str, Any]:
    """Return what a pipeline is asked, by OpenAI's names."""
    asked = inputs_of(given)
    chats = conversations(asked)
    content = {"messages": [message for chat in chats for message in chat]} if chats else {"prompt": asked}
    options = {name: given[name] for name in (*COMPLETION.fields, "num_return_sequences") if name in given}
    return {**options, **content}


def answer(pipeline: Any, given: Given, result: Any) -> Mapping[str, Any]:
    """Return the texts that a pipeline generated, or how many inputs it embedded."""
    if pipeline.task == "feature-extraction":
        asked = inputs_of(given)
        return item_count(len(asked) if isinstance(asked, (list, tuple)) else 1)
    return {"choices": [{"message": {"content": text}, "finish_reason": "stop"} for text in said(result)]}


def completion(model: Any, given: Given) -> Operation | None:
    """Return what `generate` does; `None` for models that hear."""
    return None if field(model, "main_input_name") in ("input_features", "input_values") else COMPLETION


def options(model: Any, given: Given) -> dict[str, Any]:
    """Return what `generate` is asked: its options; the prompt is tokens."""
    config = given.get("generation_config")
    named = {name: given.get(name, field(config, name)) for name in COMPLETION.fields}
    return {name: value for name, value in named.items() if value is not None}


def generated(model: Any, given: Given, result: Any) -> Mapping[str, Any]:
    """Return the tokens that went into a model and came out of it."""
    config = given.get("generation_config") or getattr(model, "generation_config", None)
    encodes = bool(field(field(model, "config"), "is_encoder_decoder"))
    return read_generated(given, result, config, encodes)


def name(model: Any) -> Any:
    """Return the name of a model, or of that of a pipeline: where its weights are from."""
    return field(field(field(model, "model") if hasattr(model, "task") else model, "config"), "_name_or_path")


def device(model: Any) -> str:
    """Return the device of a model or pipeline."""
    return str(model.device)


class TransformersInstrumentor(Instrumentor):
    """Records the calls of the `transformers` package."""

    library = "transformers"
    distribution = "transformers"
    supports = "transformers >= 4.52, < 6"
    client = LocalModels(
        library="transformers",
        provider="transformers",
        methods={
            ("transformers.pipelines.base", "Pipeline.__call__"): LocalMethod(operation, body, answer, "streamer"),
            ("transformers.generation.utils", "GenerationMixin.generate"): LocalMethod(
                completion, options, generated, "streamer", part=True
            ),
        },
        model=name,
        device=device,
    )
