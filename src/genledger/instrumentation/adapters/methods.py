"""Client libraries whose calls are ordinary methods: one call in, one result out, synchronous or not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import get_current

from genledger.engine import internal_errors
from genledger.engine.call import Call
from genledger.engine.operation import Body, Endpoint, Operation
from genledger.engine.recorder import active, suppressed
from genledger.instrumentation.patching import Patch, Patches


@dataclass(frozen=True, slots=True)
class Methods:
    """Methods of one class of a client library.

    Args:
        library: The import package.
        module: The module that the class is in.
        cls: The class.
        operations: The operation that each method is.
        endpoint: Finds whom an instance talks to.
        body: Adds what the instance itself says about the call to the arguments.
        asynchronous: Whether the methods are coroutine functions.
    """

    library: str
    module: str
    cls: str
    operations: Mapping[str, Operation]
    endpoint: Callable[[Any], Endpoint]
    body: Callable[[Any, dict[str, Any]], Body]
    asynchronous: bool = False

    def patches(self) -> Patches:
        """What to patch, and with what."""
        return [
            Patch(self.module, f"{self.cls}.{name}", self._wrapper(operation), optional=True)
            for name, operation in self.operations.items()
        ]

    def _wrapper(self, operation: Operation) -> Callable[..., Any]:
        names: list[str] = []

        def open_call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
            recorder = active()
            try:
                if recorder is None or suppressed(get_current()):
                    return None
                if args and not names:
                    names.extend(inspect.signature(wrapped).parameters)
                given = {**dict(zip(names, args, strict=False)), **kwargs} if args else dict(kwargs)
                body = self.body(instance, given)
                return recorder.open(operation, self.library, self.endpoint(instance), body)
            except Exception as error:
                internal_errors.report("opening a call", error)
                return None

        def synchronous(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = open_call(wrapped, instance, args, kwargs)
            if call is None:
                return wrapped(*args, **kwargs)
            call.admit()
            inside = call.enter()
            try:
                result = wrapped(*args, **kwargs)
            except BaseException as error:
                call.settle(error=error)
                raise
            finally:
                call.leave(inside)
            call.settle(result)
            return result

        async def asynchronous(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            call = open_call(wrapped, instance, args, kwargs)
            if call is None:
                return await wrapped(*args, **kwargs)
            await call.admit_async()
            inside = call.enter()
            try:
                result = await wrapped(*args, **kwargs)
            except BaseException as error:
                call.settle(error=error)
                raise
            finally:
                call.leave(inside)
            call.settle(result)
            return result

        return asynchronous if self.asynchronous else synchronous
