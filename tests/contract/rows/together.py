"""Together's client: generated as OpenAI's is, and speaks its chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import ask, chunks, error, whole

MODEL = "Qwen/Qwen3.7-Max"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import together

    kind = together.AsyncTogether if asynchronous else together.Together
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="together",
    module="together",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="together",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 7.5e-6,  # https://www.together.ai/pricing
    error=error,
    cheaper="Qwen/Qwen3.8-Flash",
)
