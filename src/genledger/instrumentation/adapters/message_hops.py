"""Frameworks whose agents send messages to each other: what a message leads to belongs to where it was sent.

A runtime takes messages from a queue in a task of its own, whose context is that of who started the runtime.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context, get_current

from genledger.context.scoped_context import enter, leave
from genledger.instrumentation.patching import Patch, Patches

_SENT_IN = "_genledger_sent_in"


def message_hops(module: str, envelopes: tuple[str, ...], handlers: tuple[str, ...]) -> Patches:
    """Return the patches of a runtime.

    Args:
        module: Its module.
        envelopes: Classes of what is in its queue; made where a message is sent.
        handlers: Coroutine functions that are given an envelope first, each in a task of its own.
    """
    return [
        *(Patch(module, f"{envelope}.__init__", _sent, optional=True) for envelope in envelopes),
        *(Patch(module, handler, _handled, optional=True) for handler in handlers),
    ]


def _sent(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wrapped(*args, **kwargs)
    setattr(instance, _SENT_IN, get_current())


async def _handled(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    sent_in = getattr(args[0], _SENT_IN, None) if args else None
    if not isinstance(sent_in, Context):
        return await wrapped(*args, **kwargs)
    hop = object()
    enter(hop, get_current(), sent_in)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        leave(hop)
