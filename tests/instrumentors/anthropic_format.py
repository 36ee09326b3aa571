"""Anthropic's wire format, as its API reference documents it: just enough of each object."""

from __future__ import annotations

from typing import Any

USAGE = {
    "input_tokens": 11,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 7,
    "service_tier": "standard",
}
USER = [{"role": "user", "content": "What is the capital of France?"}]
ASK: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": USER}


def text(content: str = "Paris.", **more: Any) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": content, **more}


def tool_use() -> dict[str, Any]:
    """A call of a tool."""
    return {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}


def message(*content: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A message."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": list(content or (text(),)),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
        **more,
    }


def message_events(*texts: str, stop: bool = True) -> list[dict[str, Any]]:
    """The events of a streamed message: input and cache are said first, the output at the end."""
    first = {**USAGE, "output_tokens": 1}
    found: list[dict[str, Any]] = [
        {"type": "message_start", "message": message(content=[], stop_reason=None, usage=first)},
        {"type": "content_block_start", "index": 0, "content_block": text("")},
        {"type": "ping"},
    ]
    found += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in texts or ("Par", "is", ".")
    ]
    if stop:
        found += [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": 7},
            },
            {"type": "message_stop"},
        ]
    return found


def error(kind: str = "invalid_request_error", message: str = "messages: too long") -> dict[str, Any]:
    """The body of a failed request, and of an `error` event inside a stream."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


def batch(status: str, *, processing: int = 0, succeeded: int = 0, **more: Any) -> dict[str, Any]:
    """A batch of messages."""
    counts = {"processing": processing, "succeeded": succeeded, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": "msgbatch_1",
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": "2026-10-09T08:53:20Z",
        "expires_at": "2026-10-10T08:53:20Z",
        **more,
    }
