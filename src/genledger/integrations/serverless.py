"""Functions after which the process may be frozen: what they recorded is delivered before they return."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from genledger.setup.instrument import flush

F = TypeVar("F", bound=Callable[..., Any])


@overload
def flush_after(handler: F, /) -> F: ...
@overload
def flush_after(*, timeout: float = 2.0) -> Callable[[F], F]: ...
def flush_after(handler: Any = None, /, *, timeout: float = 2.0) -> Any:
    """Decorate a handler, sync or async, so that it returns (or fails) after `genledger.flush(timeout)`.

    For platforms that freeze a process between two requests, such as AWS Lambda: queued records might then
    never be sent. https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html

    Args:
        handler: The function, when the decorator is used without arguments.
        timeout: Seconds that the delivery may take at most; what is not delivered by then stays in the queue.
    """
    if handler is None:
        return functools.partial(_wrap, timeout=timeout)
    return _wrap(handler, timeout=timeout)


def _wrap(handler: Callable[..., Any], *, timeout: float) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            try:
                return await handler(*args, **kwargs)
            finally:
                import asyncio

                await asyncio.to_thread(flush, timeout)

        return asynchronous

    @functools.wraps(handler)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        finally:
            flush(timeout)

    return synchronous
