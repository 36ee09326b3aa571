"""The most that a call can consume: what is reserved for it, and what is settled when its answer never came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from genledger.engine.text_size import input_tokens

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.operation import Operation

DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens that are reserved for a call that sets no limit of its own."""

IMAGE_TOKENS = 6240
"""Output tokens of the dearest image: GPT Image's high quality in portrait. https://platform.openai.com/docs/guides/images"""

LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")
"""The names that APIs have for the most tokens a call may generate."""


def ceiling(call: Call, body: Any, *, carefully: bool = False) -> tuple[int, int]:
    """Return the input tokens of a request, estimated, and the most output tokens it can be answered with."""
    provider, operation = call.endpoint.provider, call.operation
    size = input_tokens(body, provider, str(body.get("model") or call.model or ""), carefully=carefully)
    return size, most_output(operation, body)


def most_output(operation: Operation, body: Any) -> int:
    """Return the most output tokens that a request can be answered with."""
    if operation.api == "images":
        return IMAGE_TOKENS * choices(body)
    if operation.inference or operation.batch is not None:
        asked = asked_limit(body)
        return (asked if asked is not None else DEFAULT_OUTPUT_TOKENS) * choices(body)
    return 0


def choices(body: Any) -> int:
    """Return how many answers a request asks for."""
    number = body.get("n")
    return number if type(number) is int and number > 0 else 1


def asked_limit(body: Any) -> int | None:
    """Return the most tokens that a request lets be generated, or `None` when it sets no limit."""
    for name in LIMITS:
        value = body.get(name)
        if type(value) is int and value >= 0:
            return value
    return None
