"""Portkey's client: OpenAI's in a package of its own; the gateway asks the provider that a header names."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import ask, chunks, error, whole

MODEL = "gpt-4o"


def make(url: str, asynchronous: bool, retries: int, **options: Any) -> Any:
    """Make a client, which has a number of retries of its own."""
    openai = sys.modules["openai"]
    import portkey_ai

    sys.modules["openai"] = openai  # 1.x puts its own copy there, which tests of the real one would get
    kind = portkey_ai.AsyncPortkey if asynchronous else portkey_ai.Portkey
    client = kind(base_url=url, api_key="k", **(options or {"provider": "openai"}))
    client.openai_client.max_retries = retries
    return client


ROW = Row(
    library="portkey-ai",
    module="portkey_ai",
    client=make,
    call=partial(ask, model=MODEL),
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="openai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,
    error=error,
    cheaper="gpt-4o-mini",
)
