"""The most that a call can consume: what is reserved for it, and what is settled when its answer never came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genledger import pricing
from genledger.engine.operation import Operation, at_path
from genledger.engine.text_size import input_tokens
from genledger.pricing.usage import Usage

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.operation import Operation

DEFAULT_OUTPUT_TOKENS = 4096
"""Output tokens that are reserved for a call that sets no limit of its own."""


def ceiling(call: Call, body: Any, *, carefully: bool = False) -> Usage:
    """Return the most that a request can consume: its input, estimated, and the largest answer it allows.

    Whatever the operation is billed by is in it: tokens, and the units that `Operation.largest` stands for.

    Args:
        call: The call.
        body: Its request, or one of a batch's.
        carefully: Look at the text, not only at its length, as `input_tokens` does.
    """
    provider, operation = call.endpoint.provider, call.operation
    size = input_tokens(body, provider, str(body.get("model") or call.model or ""), carefully=carefully)
    usage = largest(provider, operation, body)
    return replace(usage, input=max(size, usage.input))


def largest(provider: str, operation: Operation, body: Any) -> Usage:
    """Return what the largest answer is billed by that a request allows."""
    if operation.largest is not None:
        reading = pricing.read_usage(provider, operation.api, operation.largest(body), body)
        return reading.usage if reading is not None else Usage()
    if operation.inference or operation.batch is not None:
        asked = asked_limit(operation, body)
        return Usage(output=(asked if asked is not None else DEFAULT_OUTPUT_TOKENS) * choices(operation, body))
    return Usage()


def choices(operation: Operation, body: Any) -> int:
    """Return how many answers a request has generated."""
    numbers = [at_path(body, name) for name in operation.choices]
    return max((number for number in numbers if type(number) is int and number > 0), default=1)


def asked_limit(operation: Operation, body: Any) -> int | None:
    """Return the most tokens that a request lets be generated, or `None` when it sets no limit."""
    for name in operation.limit:
        value = at_path(body, name)
        if type(value) is int and value >= 0:
            return value
    return None
