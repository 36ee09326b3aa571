"""Snowflake's `complete`: its request is sent over the session's address, and its answer is streamed in any case."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.contract.row import Row
from tests.contract.rows.snowflake_core import MODEL, PRICES, PROMPT, chunks, error
from tests.contract.server import Reply


def session(url: str) -> Any:
    """What `complete` has to know of a session: where it is, and with which token."""
    host = url.removeprefix("http://")
    return SimpleNamespace(
        connection=SimpleNamespace(host=host, scheme="http", rest=SimpleNamespace(token="t")),
        telemetry_enabled=False,
    )


def ask(session: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    from snowflake.cortex import complete

    options: Any = None if max_tokens is None else {"max_tokens": max_tokens}
    return complete(MODEL, [{"role": "user", "content": PROMPT}], options=options, session=session, stream=stream)


ROW = Row(
    library="snowflake-ml-python",
    module="snowflake.cortex",
    client=lambda url, asynchronous, retries: session(url),
    call=ask,
    whole=Reply(200, "text/event-stream", chunks()),
    events=chunks(),
    provider="snowflake",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 4e-6 + 500 * 20e-6,
    error=error,
    cheaper="llama3.1-8b",
    asynchronous=False,
    options={"prices": PRICES},
    retries=False,  # it tries again after 429, 503 and 504
    throttled=False,
)
