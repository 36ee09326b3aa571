"""AI21's client, which speaks OpenAI's chat format."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.rows.openai_chat import PROMPT, chunks, whole
from tests.contract.server import Reply, json_reply

MODEL = "jamba-large"


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client. It counts attempts, not those after the first."""
    import ai21

    kind = ai21.AsyncAI21Client if asynchronous else ai21.AI21Client
    return kind(api_key="k", api_host=url, num_retries=retries, timeout_sec=20)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    from ai21.models.chat import ChatMessage

    given: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
    messages = [ChatMessage(role="user", content=PROMPT)]
    return client.chat.completions.create(model=MODEL, messages=messages, stream=stream, **given)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"detail": f"No: {PROMPT}"}, status)


ROW = Row(
    library="ai21",
    module="ai21",
    client=make,
    call=ask,
    whole=whole(MODEL),
    events=chunks(MODEL),
    provider="ai21",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2e-6 + 500 * 8e-6,  # https://www.ai21.com/pricing/
    error=error,
    cheaper="jamba-mini",
)
