"""LiteLLM's library to Cohere: reranks, by requests of its own."""

from __future__ import annotations

from tests.contract.row import Row, at_least
from tests.contract.rows import cohere
from tests.contract.rows.litellm_openai import ROW as OPENAI

_THEIRS = next(row for row in cohere.OPERATIONS if row.operation == "rerank")

_RERANK = OPENAI.another(
    "rerank",
    call=lambda client, **_: client.call(
        "rerank", model=f"cohere/{_THEIRS.model}", query=_THEIRS.prompt, documents=["Paris", "London"]
    ),
    whole=_THEIRS.whole,
    provider=_THEIRS.provider,
    model=_THEIRS.model,
    usage=_THEIRS.usage,
    cost=_THEIRS.cost,
    error=_THEIRS.error,
)

# 1.71 raises over a throttled rerank what it raises over a connection that failed.
OPERATIONS: tuple[Row, ...] = (_RERANK,) if at_least("litellm", 1, 72) else ()
