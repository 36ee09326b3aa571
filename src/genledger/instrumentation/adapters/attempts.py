"""The requests that one call takes: those that a client sends again by itself are counted, and admitted as it is."""

from __future__ import annotations

import sys
from typing import Any

from genledger.engine.call import Call, running_call
from genledger.instrumentation.adapters.methods import kind_of
from genledger.instrumentation.patching import Patch
from genledger.shared import internal_errors


def note_retry(call: Call, response: Any, error: BaseException | None) -> bool:
    """Note that a request is about to be sent again; tell whether the attempt before may be billed."""
    try:
        return call.retried(response, error)
    except Exception as fault:
        internal_errors.report("counting a retry", fault)
        return False


def retrying(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Note what failed, where the client works out how long to wait before it tries again."""
    call = running_call()
    if call is not None:
        note_retry(call, kwargs.get("response"), sys.exc_info()[1])
    return wrapped(*args, **kwargs)


def attempts(library: str, module: str, path: str, *, optional: bool = False) -> Patch:
    """Return the patch of a function that makes one attempt at a call: a method above it repeats it after an error.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function; a coroutine function or not.
        optional: Whether only some versions have it.
    """

    def attempt(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is None:
            return wrapped(*args, **kwargs)
        if _repeats(call):
            call.readmit()
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            call.failed = error
            raise

    async def attempt_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is None:
            return await wrapped(*args, **kwargs)
        if _repeats(call):
            await call.readmit_async()
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            call.failed = error
            raise

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        coroutine = kind_of(wrapped) == "coroutine"
        return (attempt_async if coroutine else attempt)(wrapped, instance, args, kwargs)

    return Patch(module, path, wrapper, optional=optional)


def _repeats(call: Call) -> bool:
    """Note the attempt that failed before this one, if any; return whether it may be billed."""
    failed, call.failed = call.failed, None
    return failed is not None and note_retry(call, None, failed)
