"""vLLM's engine in this process, 0.9 to 0.x: offline batches, and the asynchronous engine below its server.

Library: https://github.com/vllm-project/vllm. One offline call is a batch of any number of prompts. `chat` may call
`generate`, and `embed` calls `encode`. Who calls a vLLM server does so by another client.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.local_models import Given, LocalMethod, LocalModels, in_process
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field

from ..formats.cohere_documents import RERANK as COHERE_RERANK
from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_chat import COMPLETIONS as OPENAI_COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS
from ..formats.vllm_outputs import (
    Outputs,
    Pooled,
    messages,
    pairs,
    prompts,
    read_completions,
    read_pooled,
    texts,
    write_limit,
)

CHAT = in_process(OPENAI_CHAT._replace(accumulate=None, limit=("max_tokens",)))
COMPLETIONS = in_process(OPENAI_COMPLETIONS._replace(accumulate=Outputs))
EMBEDDINGS = in_process(OPENAI_EMBEDDINGS._replace(accumulate=Pooled))
RERANK = in_process(COHERE_RERANK._replace(accumulate=Pooled))

_POOLED = {
    **dict.fromkeys(("embed", "token_embed", "embed&token_classify", "plugin"), EMBEDDINGS),
    "score": RERANK,
}


def pooled(engine: Any, given: Given) -> Operation | None:
    """Return what a request for vectors or scores is; `None` if it classifies."""
    task = given.get("pooling_task") or field(given.get("pooling_params"), "task")
    return EMBEDDINGS if task is None else _POOLED.get(task)


def _config(engine: Any, name: str) -> Any:
    inner = getattr(engine, "llm_engine", engine)
    return getattr(getattr(inner, "vllm_config", None), name, None) or getattr(inner, name, None)


def model(engine: Any) -> Any:
    """Return the name that a model is served by."""
    config = _config(engine, "model_config")
    served = field(config, "served_model_name")
    return (served[0] if isinstance(served, (list, tuple)) and served else served) or field(config, "model")


def device(engine: Any) -> str | None:
    """Return the kind of device that an engine runs on."""
    found = field(_config(engine, "device_config"), "device_type")
    return found if isinstance(found, str) else None


def devices(engine: Any) -> int:
    """Return how many devices an engine has."""
    size = field(_config(engine, "parallel_config"), "world_size")
    return size if type(size) is int else 1


_LLM = {
    "generate": LocalMethod(COMPLETIONS, prompts, read_completions, write=write_limit),
    "chat": LocalMethod(CHAT, messages, read_completions, write=write_limit),
    "embed": LocalMethod(EMBEDDINGS, texts, read_pooled),
    "encode": LocalMethod(pooled, texts, read_pooled),
    "score": LocalMethod(RERANK, pairs, read_pooled),
}
_ASYNC = {
    "generate": LocalMethod(COMPLETIONS, prompts, write=write_limit),
    "encode": LocalMethod(pooled, texts),
}


class VllmInstrumentor(Instrumentor):
    """Records the calls of the `vllm` package."""

    library = "vllm"
    distribution = "vllm"
    supports = "vllm >= 0.9, < 1"
    client = LocalModels(
        library="vllm",
        provider="vllm",
        methods={
            **{("vllm.entrypoints.llm", f"LLM.{name}"): method for name, method in _LLM.items()},
            **{("vllm.v1.engine.async_llm", f"AsyncLLM.{name}"): method for name, method in _ASYNC.items()},
        },
        model=model,
        device=device,
        devices=devices,
    )
