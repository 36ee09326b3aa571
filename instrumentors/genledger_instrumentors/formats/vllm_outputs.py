"""vLLM's requests and outputs. https://docs.vllm.ai/en/latest/api/vllm/outputs.html

An output has the tokens of its prompt, and those of each completion. A stream's outputs have all that was generated so
far, or only what is new (`RequestOutputKind`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, listed
from genledger.instrumentation.adapters.local_models import Given, item_count
from genledger.pricing.getters import field

_OPTIONS = ("max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "n", "frequency_penalty", "presence_penalty")
_UNSET: tuple[Any, ...] = (None, 0, -1, [])


def _one(options: Any) -> Any:
    return options[0] if isinstance(options, (list, tuple)) and options else options


def _options(given: Given) -> dict[str, Any]:
    """Return the options of a request; for several prompts, those of the first."""
    options = _one(given.get("sampling_params"))
    values = {name: field(options, name) for name in _OPTIONS}
    return {name: value for name, value in values.items() if value not in _UNSET or name == "temperature"}


def _prompts(prompts: Any) -> Any:
    """Return prompts as texts, or as tokens; nothing of a request that the server has prepared."""
    if isinstance(prompts, Mapping):
        return prompts.get("prompt") or prompts.get("prompt_token_ids")
    if isinstance(prompts, (list, tuple)) and prompts and not isinstance(prompts[0], int):
        return [_prompts(one) for one in prompts]
    return prompts if isinstance(prompts, (str, list, tuple)) else None


def prompts(engine: Any, given: Given) -> dict[str, Any]:
    """Return a request for completions, by OpenAI's names; the asynchronous engine's is streamed."""
    asked = {**_options(given), "prompt": _prompts(given.get("prompts", given.get("prompt")))}
    kind = field(field(given.get("sampling_params"), "output_kind"), "name")
    return {**asked, "output_kind": kind, "stream": "request_id" in given}


def messages(engine: Any, given: Given) -> dict[str, Any]:
    """Return a request for one chat, or for several, by OpenAI's names."""
    chats = [one if isinstance(one, (list, tuple)) else (one,) for one in listed(given.get("messages"))]
    return {**_options(given), "messages": [one for chat in chats for one in chat], "tools": given.get("tools")}


def texts(engine: Any, given: Given) -> dict[str, Any]:
    """Return a request for vectors, by OpenAI's names."""
    return {"input": _prompts(given.get("prompts", given.get("prompt")))}


def pairs(engine: Any, given: Given) -> dict[str, Any]:
    """Return a request for scores, by Cohere's names."""
    return {"query": given.get("data_1"), "documents": given.get("data_2")}


def write_limit(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write another limit of generated tokens into copies of the options, where there are any."""
    options, limit = arguments.get("sampling_params"), changes.get("max_tokens")
    if options is None or limit is None:
        return
    copies = [one.clone() for one in (options if isinstance(options, (list, tuple)) else (options,))]
    for one in copies:
        one.max_tokens = limit
    arguments["sampling_params"] = copies if isinstance(options, (list, tuple)) else copies[0]


def _usage(outputs: Sequence[Any], generated: int) -> dict[str, Any]:
    return {
        "prompt_tokens": sum(len(field(one, "prompt_token_ids") or ()) for one in outputs),
        "completion_tokens": generated,
        "prompt_tokens_details": {"cached_tokens": sum(field(one, "num_cached_tokens") or 0 for one in outputs)},
    }


def read_completions(model: Any, given: Given, outputs: Any) -> Mapping[str, Any]:
    """Return what was generated for all prompts, in OpenAI's format."""
    made = [one for output in outputs for one in output.outputs]
    return {
        "choices": [{"text": one.text, "finish_reason": one.finish_reason} for one in made],
        "usage": _usage(outputs, sum(len(one.token_ids) for one in made)),
    }


def read_pooled(model: Any, given: Given, outputs: Any) -> Mapping[str, Any]:
    """Return how many inputs were embedded or scored, and their tokens."""
    return {"usage": _usage(outputs, 0), **item_count(len(outputs))}


class Outputs:
    """Puts the outputs of one streamed request together; keeps the text only when content is captured."""

    counted = True

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._deltas = body.get("output_kind") == "DELTA"
        self._first: Any = None
        self._tokens: dict[int, int] = {}
        self._texts: dict[int, str] = {}
        self._lengths: dict[int, int] = {}
        self._reasons: dict[int, str | None] = {}
        self._finished = False

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more outputs."""
        for chunk in chunks:
            if self._first is None:
                self._first = chunk
            self._finished = self._finished or bool(chunk.finished)
            for one in chunk.outputs:
                at, before = one.index, self._deltas
                self._tokens[at] = len(one.token_ids) + (self._tokens.get(at, 0) if before else 0)
                self._lengths[at] = length_of(one.text) + (self._lengths.get(at, 0) if before else 0)
                if self._keep:
                    self._texts[at] = (self._texts.get(at, "") if before else "") + one.text
                self._reasons[at] = one.finish_reason or self._reasons.get(at)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, in OpenAI's format."""
        choices = [{"text": self._texts.get(at, ""), "finish_reason": why} for at, why in self._reasons.items()]
        usage = _usage(() if self._first is None else (self._first,), sum(self._tokens.values()))
        return {"choices": choices, "usage": usage}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return sum(self._lengths.values())

    @property
    def complete(self) -> bool:
        """Return whether the last output has come."""
        return self._finished


class Pooled:
    """Keeps the last output of one request for an embedding or a score."""

    counted = True

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more outputs."""
        self._last = chunks[-1]

    def response(self) -> Mapping[str, Any]:
        """Return what it counts."""
        return {} if self._last is None else read_pooled(None, {}, (self._last,))

    def text_length(self) -> int:
        """Return nothing: no text is generated."""
        return 0

    @property
    def complete(self) -> bool:
        """Return whether the last output has come."""
        return bool(field(self._last, "finished"))
