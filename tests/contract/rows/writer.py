"""Writer's client: generated as OpenAI's is, and speaks its chat format under a method of its own."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, chunks, error, whole

MODEL = "palmyra-x4"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import writerai

    kind = writerai.AsyncWriter if asynchronous else writerai.Writer
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    given: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
    return client.chat.chat(model=MODEL, messages=[{"role": "user", "content": PROMPT}], stream=stream, **given)


ROW = Row(
    library="writer-sdk",
    module="writerai",
    client=make,
    call=ask,
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="writer",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,  # https://dev.writer.com/home/pricing
    error=error,
    cheaper="palmyra-x5",
)
