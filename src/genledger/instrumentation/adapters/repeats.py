"""Functions of a client that call another of its functions again until it succeeds: attempts at one call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import wrapt

from genledger.engine.call import Call, running_call
from genledger.instrumentation.adapters.attempts import note_retry
from genledger.instrumentation.patching import Patch


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
            attempts = _attempts_async if iscoroutinefunction(function) else _attempts
            function = attempts(call, function, sys.exc_info()[1])
        return wrapped(*args, **{**kwargs, argument: function})

    return Patch(module, path, wrapper, optional=True)


def _attempts(call: Call, function: Callable[..., Any], error: BaseException | None) -> Callable[..., Any]:
    def attempt(*args: Any, **kwargs: Any) -> Any:
        nonlocal error
        if error is not None and note_retry(call, None, error):
            call.readmit()
        try:
            return function(*args, **kwargs)
        except Exception as failure:
            error = failure
            raise

    return attempt


def _attempts_async(call: Call, function: Callable[..., Any], error: BaseException | None) -> Callable[..., Any]:
    async def attempt(*args: Any, **kwargs: Any) -> Any:
        nonlocal error
        if error is not None and note_retry(call, None, error):
            await call.readmit_async()
        try:
            return await function(*args, **kwargs)
        except Exception as failure:
            error = failure
            raise

    return attempt
