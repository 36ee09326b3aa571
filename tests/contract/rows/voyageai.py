"""Voyage's client: embeddings and reranks by plain methods."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT
from tests.contract.rows.openai_operations import vectors
from tests.contract.server import Reply, json_reply

MODEL = "voyage-3.5"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client that waits no time before it tries again."""
    import voyageai
    from tenacity import wait_none

    kind: Any = voyageai.AsyncClient if asynchronous else voyageai.Client
    attempts = {"max_retries": retries and retries + 1, "timeout": 20}  # it counts the first one, too
    if hasattr(voyageai, "api_base"):  # 0.3
        voyageai.api_base = url
        client = kind("k", **attempts)
        if retries:
            client.retry_controller.wait = wait_none()
        return client
    client = kind("k", base_url=url, **attempts)
    controller = client._make_retry_controller
    client._make_retry_controller = lambda: (made := controller()) and made.copy(wait=wait_none())
    return client


def error(status: int) -> Reply:
    """Make an error answer. https://docs.voyageai.com/docs/error-codes"""
    return json_reply({"detail": f"No: {PROMPT}"}, {500: 503}.get(status, status))  # it tries no 500 again


# https://docs.voyageai.com/docs/pricing
ROW = Row(
    library="voyageai",
    module="voyageai",
    client=make,
    call=lambda client, **_: client.embed([PROMPT], model=MODEL),
    whole=vectors(MODEL),
    events=(),
    provider="voyageai",
    model=MODEL,
    usage=(1000, 0),
    cost=1000 * 0.06e-6,
    error=error,
    text="",
    limit=None,
    cheaper="voyage-3.5-lite",
    streams=False,
    operation="embeddings",
    content=False,
)

OPERATIONS = (
    ROW.another(
        "rerank",
        call=lambda client, **_: client.rerank(PROMPT, ["London", "Paris"], model="rerank-2.5"),
        whole=json_reply(
            {
                "object": "list",
                "data": [{"relevance_score": 0.9, "index": 1}],
                "model": "rerank-2.5",
                "usage": {"total_tokens": 1000},
            }
        ),
        model="rerank-2.5",
        cost=1000 * 0.05e-6,
        cheaper="rerank-2.5-lite",
        content=True,
    ),
)
