"""Requests that a client sends again by itself: attempts at one call, counted, and admitted as the call is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from types import SimpleNamespace
from typing import Any

import wrapt

from genledger.engine.call import Call, running_call
from genledger.instrumentation.adapters.methods import named_arguments, of_both_kinds
from genledger.instrumentation.patching import Patch, Patches, Wrapper
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


def counted(
    call: Call,
    send: Callable[..., Any],
    failed: BaseException | None = None,
    refused: Callable[[Exception], Exception] | None = None,
) -> Callable[..., Any]:
    """Return a function to call for each attempt at a call, of the kind of `send`.

    Args:
        call: The open call.
        send: Makes one attempt; a coroutine function or not.
        failed: How the attempt before the first of these failed, if there was one.
        refused: Makes an exception that ends the client's retries, from the one that a budget raises.
    """

    def repeats() -> bool:
        nonlocal failed
        error, failed = failed, None
        return error is not None and note_retry(call, None, error)

    def attempt(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        if repeats():
            try:
                call.readmit()
            except Exception as error:
                if refused is None:
                    raise
                raise refused(error) from error
        try:
            return send(*args, **kwargs)
        except Exception as error:
            failed = error
            raise

    async def attempt_async(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        if repeats():
            try:
                await call.readmit_async()
            except Exception as error:
                if refused is None:
                    raise
                raise refused(error) from error
        try:
            return await send(*args, **kwargs)
        except Exception as error:
            failed = error
            raise

    return attempt_async if iscoroutinefunction(send) else attempt


def repeats(library: str, module: str, path: str, argument: str, default: str) -> Patch:
    """Return the patch of a function that is called when a request has failed, and sends it again.

    Outside of a call, what it calls is a call each time.

    Args:
        library: The library's name for users.
        module: The module of the function.
        path: The function.
        argument: The argument that names what is called again.
        default: The patched function of the module that is called where that is not given.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        patched = getattr(sys.modules.get(module), default, None)
        function = kwargs.get(argument) or patched
        if function is None:
            return wrapped(*args, **kwargs)
        if call is not None:
            if function is patched and isinstance(patched, wrapt.FunctionWrapper):
                function = patched.__wrapped__
            function = counted(call, function, sys.exc_info()[1])
        return wrapped(*args, **{**kwargs, argument: function})

    return Patch(module, path, wrapper, optional=True)


def attempts(library: str, module: str, path: str, *, optional: bool = False) -> Patch:
    """Return the patch of a function that makes one attempt at a call: a method above it repeats it after an error.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function; a coroutine function or not.
        optional: Whether only some versions have it.
    """
    return Patch(module, path, _attempting(library, _failed, answers=False), optional=optional)


def answering(library: str) -> Wrapper:
    """Return the wrapper of a function that makes one attempt and returns its response: a method above it repeats it.

    Args:
        library: The library's name for users.
    """
    return _attempting(library, _answered, answers=True)


def answers(library: str, module: str, path: str, *, optional: bool = False) -> Patch:
    """Return the patch of a function that makes one attempt and returns its response: a method above it repeats it.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function; a coroutine function or not.
        optional: Whether only some versions have it.
    """
    return Patch(module, path, answering(library), optional=optional)


def _attempting(library: str, repeats: Callable[[Call], bool], *, answers: bool) -> Wrapper:
    """Return the wrapper of what makes one attempt.

    Args:
        library: The library's name for users.
        repeats: Notes the attempt before this one, if any; returns whether it may be billed.
        answers: Whether what it returns may be no success.
    """

    def attempt(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is None:
            return wrapped(*args, **kwargs)
        if repeats(call):
            call.readmit()
        try:
            result = wrapped(*args, **kwargs)
        except Exception as error:
            call.failed = error
            raise
        call.answered = result if answers else call.answered
        return result

    async def attempt_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is None:
            return await wrapped(*args, **kwargs)
        if repeats(call):
            await call.readmit_async()
        try:
            result = await wrapped(*args, **kwargs)
        except Exception as error:
            call.failed = error
            raise
        call.answered = result if answers else call.answered
        return result

    return of_both_kinds(attempt, attempt_async)


def _failed(call: Call) -> bool:
    """Note the attempt that failed before this one, if any; return whether it may be billed."""
    failed, call.failed = call.failed, None
    return failed is not None and note_retry(call, None, failed)


def _answered(call: Call) -> bool:
    """Note the attempt that was answered before this one, if any; return whether it may be billed."""
    return call.answered is not None and note_retry(call, call.answered, None)


def decides(library: str, module: str, path: str, *, optional: bool = False) -> Patch:
    """Return the patch of a function that decides, from a `response` or an `error`, whether a request is sent again.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function; it returns `None` or something false if the request is not sent again.
        optional: Whether only some versions have it.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        again = wrapped(*args, **kwargs)
        call = running_call(library)
        if call is not None and again is not None and again is not False:
            given = named_arguments(wrapped, args, kwargs)
            response = given.get("response")
            if note_retry(call, getattr(response, "http_response", response), given.get("error")):
                call.readmit()
        return again

    return Patch(module, path, wrapper, optional=optional)


def pausing(library: str, module: str, decides: str, pauses: tuple[str, ...]) -> Patches:
    """Return the patches of a loop that sends a request again: what judges an answer, and what waits before the next.

    Args:
        library: The library's name for users.
        module: The module that the functions are in.
        decides: The function that is given the HTTP status of an answer, and returns whether it is one to try again
            for. After a last attempt, nothing waits.
        pauses: The functions that wait; coroutine functions or not.
    """

    def decided(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        again, call = wrapped(*args, **kwargs), running_call(library)
        if call is not None and again:
            call.answered = SimpleNamespace(status_code=named_arguments(wrapped, args, kwargs).get("status_code"))
        return again

    def pause(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is not None and _paused(call):
            call.readmit()
        return wrapped(*args, **kwargs)

    async def pause_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is not None and _paused(call):
            await call.readmit_async()
        return await wrapped(*args, **kwargs)

    waits = of_both_kinds(pause, pause_async)
    return [Patch(module, decides, decided), *(Patch(module, path, waits) for path in pauses)]


def _paused(call: Call) -> bool:
    """Note the attempt before a pause: it was answered, else it failed; return whether it may be billed."""
    answered, call.answered = call.answered, None
    return note_retry(call, answered, sys.exc_info()[1] if answered is None else None)
