"""Cerebras' client: generated as OpenAI's is, and speaks its chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import ask, chunks, error, whole

MODEL = "gpt-oss-120b"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client, which does not ask for a connection before it needs one."""
    from cerebras.cloud.sdk import AsyncCerebras, Cerebras

    kind = AsyncCerebras if asynchronous else Cerebras
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20, warm_tcp_connection=False)


ROW = Row(
    library="cerebras-cloud-sdk",
    module="cerebras.cloud.sdk",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL, system_fingerprint="fp_1"),
    events=chunks(MODEL),
    provider="cerebras",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.35e-6 + 500 * 0.75e-6,  # https://www.cerebras.ai/pricing
    error=error,
    cheaper="llama3.1-8b",
    limit=lambda request: request.json.get("max_completion_tokens", request.json.get("max_tokens")),
)
