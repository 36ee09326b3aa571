"""Anthropic's client: the Messages format."""

from __future__ import annotations

from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, json_reply, sse

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"


def message(**more: Any) -> dict[str, Any]:
    """A message."""
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    return {**head, "content": [], "stop_reason": None, "stop_sequence": None, **more}


def events() -> tuple[bytes, ...]:
    """A streamed message."""
    pieces = [{"type": "text_delta", "text": word if word == "Paris." else f"{word} "} for word in TEXT.split()]
    return sse(
        {"type": "message_start", "message": message(usage={"input_tokens": 1000, "output_tokens": 1})},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 500}},
        {"type": "message_stop"},
        named=True,
    )


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    given: dict[str, Any] = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": PROMPT}]}
    if stream:
        given["stream"] = True
    return client.messages.create(max_tokens=max_tokens or 2000, **given)


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import anthropic

    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"type": "error", "error": {"type": "api_error", "message": f"No: {PROMPT}"}}, status)


ROW = Row(
    library="anthropic",
    module="anthropic",
    client=make,
    call=ask,
    whole=json_reply(
        message(
            content=[{"type": "text", "text": TEXT}],
            stop_reason="end_turn",
            usage={"input_tokens": 1000, "output_tokens": 500},
        )
    ),
    events=events(),
    provider="anthropic",
    model="claude-sonnet-4-5",
    usage=(1000, 500),
    cost=1000 * 3e-6 + 500 * 15e-6,
    error=error,
    cheaper="claude-haiku-4-5",
)
