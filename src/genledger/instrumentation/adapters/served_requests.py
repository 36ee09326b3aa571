"""Servers of protocols whose libraries take the context of a request for nothing but the parent of a span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genledger.context.attribution import arrived
from genledger.instrumentation.patching import Wrapper


def serving(carrier_of: Callable[[Any], object]) -> Wrapper:
    """Return the wrapper of a function that makes what serves a request: in the attribution that came with it.

    Args:
        carrier_of: Returns what has W3C baggage, of what the coroutine function is called with that serves a request.
    """

    def make(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        serve = wrapped(*args, **kwargs)

        async def attributed(request: Any) -> Any:
            with arrived(carrier_of(request)):
                return await serve(request)

        return attributed

    return make
