"""The client of Z.ai: a fork of what Stainless generates, which speaks OpenAI's chat format."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import ask, chunks, error, whole

MODEL = "glm-4.7"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client; there are only synchronous ones."""
    import zai

    return zai.ZaiClient(base_url=url, api_key="k", max_retries=retries, timeout=20)


ROW = Row(
    library="zai-sdk",
    module="zai",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="zai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.6e-6 + 500 * 2.2e-6,  # https://docs.z.ai/guides/overview/pricing
    error=error,
    cheaper="glm-4.5-air",
    asynchronous=False,
)
