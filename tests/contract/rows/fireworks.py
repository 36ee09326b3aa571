"""Fireworks' client: generated as OpenAI's is, and speaks its chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import ask, chunks, error, whole

MODEL = "accounts/fireworks/models/deepseek-v3p2"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import fireworks

    kind = fireworks.AsyncFireworks if asynchronous else fireworks.Fireworks
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="fireworks-ai",
    module="fireworks",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="fireworks",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.56e-6 + 500 * 1.68e-6,  # https://fireworks.ai/pricing
    error=error,
    cheaper="accounts/fireworks/models/deepseek-v4-flash",
)
