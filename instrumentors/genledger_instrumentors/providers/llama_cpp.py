"""llama-cpp-python, 0.3: llama.cpp in this process, which speaks OpenAI's formats.

Library: https://github.com/abetlen/llama-cpp-python. Streams have no usage: what was read is counted where the model
is given its prompt, and what was generated where a token is sampled. `__call__` calls `create_completion`, and so do
the handlers of chat formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.instrumentation.adapters.local_models import (
    Given,
    LocalMethod,
    LocalModels,
    in_process,
    item_count,
    short_name,
)
from genledger.instrumentation.instrumentor import Instrumentor

from ..formats.openai_chat import CHAT, COMPLETIONS
from ..formats.openai_chat_stream import Chunks
from ..formats.openai_embeddings import EMBEDDINGS

_LLAMA = "llama_cpp.llama"


class NamedChunks(Chunks):
    """Puts chunks together that name the model by its file."""

    def response(self) -> Mapping[str, Any]:
        """Return what was received, with the model's short name."""
        return _named(super().response())


def _named(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**answer, "model": short_name(answer.get("model"))}


def answer(model: Any, given: Given, result: Any) -> Mapping[str, Any]:
    """Return an answer with the model's short name."""
    return _named(result)


def embedded(model: Any, given: Given, result: Any) -> Mapping[str, Any]:
    """Return how many texts were embedded, and the tokens, where they are told."""
    items = item_count(1 if isinstance(given.get("input"), str) else len(given["input"]))
    return {**_named(result), **items} if isinstance(result, Mapping) else items


def fed(given: Given, result: Any) -> dict[str, int]:
    """Return how many tokens the model is given."""
    return {"prompt_tokens": len(given["tokens"])}


def sampled(given: Given, result: Any) -> dict[str, int]:
    """Return that one token was generated."""
    return {"completion_tokens": 1}


_METHODS = {
    "create_chat_completion": LocalMethod(in_process(CHAT._replace(accumulate=NamedChunks)), answer=answer),
    "create_completion": LocalMethod(in_process(COMPLETIONS._replace(accumulate=NamedChunks)), answer=answer),
    "create_embedding": LocalMethod(in_process(EMBEDDINGS), answer=embedded),
    "embed": LocalMethod(in_process(EMBEDDINGS), answer=embedded),
}


class LlamaCppInstrumentor(Instrumentor):
    """Records the calls of the `llama-cpp-python` package."""

    library = "llama-cpp-python"
    distribution = "llama-cpp-python"
    supports = "llama-cpp-python >= 0.3.9, < 0.4"
    client = LocalModels(
        library="llama-cpp-python",
        provider="llama_cpp",
        methods={(_LLAMA, f"Llama.{name}"): method for name, method in _METHODS.items()},
        parts={(_LLAMA, "Llama.generate"): fed, (_LLAMA, "Llama.sample"): sampled},
        model=lambda model: model.model_path,
    )
