"""Clients whose calls are ordinary functions or methods: one call in, one result or stream out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import IOBase
from typing import Any

from genledger.engine.call import Call, Local, running_call
from genledger.engine.driver import (
    Arguments,
    Exchange,
    Open,
    asynchronous,
    follow,
    generating,
    generating_async,
    synchronous,
)
from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.http_response import tap_content, tap_events
from genledger.instrumentation.adapters.stream_objects import Kept, StreamClasses, is_stream_object
from genledger.instrumentation.patching import Patch, Patches, Wrapper
from genledger.pricing import getters
from genledger.shared import internal_errors

Find = Callable[[dict[str, Any]], Operation | None]
"""`find(arguments)`: return the operation of a call by the named arguments of a method; `None` if it is not one."""

Write = Callable[[dict[str, Any], Mapping[str, Any]], None]
"""`write(arguments, changes)`: put changed fields of a request into the named arguments of a method."""


def update(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changes into arguments that have the names of the request's fields."""
    arguments.update(with_changes(arguments, changes))


@dataclass(frozen=True, slots=True)
class Methods:
    """Functions of modules, or methods of classes of them.

    What a function is (a coroutine function, a generator function, or one that just returns) is read from the
    function itself. A result that is an iterator, of an operation that streams, is followed to its end.

    Args:
        library: The library's name for users.
        classes: The class, by the module that it is in, synchronous and not; empty for functions of the module.
        operations: The operation that each function is, or what finds it: for one that sends any request.
        endpoint: Finds the endpoint that an instance (`None` for a function) talks to, or a request to an instance.
        body: Makes the request, by the provider's names, from the instance and the named arguments; those by default.
            `None` for what is no call.
        write: Writes changed fields of the request back into the named arguments.
        streamed: Tells from the request whether its answer is a stream.
        answer: Makes an answer, as the operation reads it, of what a function returned or had received.
        received: Whether the answer is what `receives` was given: the client drops fields of it.
        kept: Gives the chunks that a stream object received and did not hand out.
        events: Finds the body of a result that the application reads as server-sent events, if it has one.
        local: Tells from the request and the result what answered where nothing was sent.
        stream_classes: The classes of streams that were seen.
        cause: Finds what failed behind an error, where the client's own has a status without an answer.
        signature: Gives the function that has the names of a function's arguments, where it only passes them on.
    """

    library: str
    classes: Mapping[str, str]
    operations: Mapping[str, Operation | Find]
    endpoint: Callable[[Any, dict[str, Any]], Endpoint]
    body: Callable[[Any, dict[str, Any]], Body | None] = lambda instance, given: given
    write: Write = update
    streamed: Callable[[Body], bool] = lambda body: bool(body.get("stream"))
    answer: Callable[[Any], Any] = lambda result: result
    received: bool = False
    kept: Kept = lambda stream: ()
    events: Callable[[Any], Any] = lambda result: None
    local: Callable[[Body, Any], Local | None] = lambda body, result: None
    cause: Callable[[BaseException], BaseException] = lambda error: error
    signature: Callable[[Any], Any] = lambda function: function
    stream_classes: StreamClasses = field(default_factory=StreamClasses)

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        patches: Patches = [
            Patch(module, f"{cls}.{name}" if cls else name, self._wrapper(operation), optional=True)
            for module, cls in self.classes.items()
            for name, operation in self.operations.items()
        ]
        return [*patches, *(self.stream_classes.hook(module) for module in self.classes)]

    def _wrapper(self, described: Operation | Find) -> Callable[..., Any]:
        def open_call(
            recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Exchange | None:
            function = self.signature(wrapped)
            given = named_arguments(function, args, kwargs)
            operation = described if isinstance(described, Operation) else described(given)
            if operation is None:
                return None
            body = self.body(instance, given)
            if body is None:
                return None
            endpoint, batch = self.endpoint(instance, given), operation.batch
            if batch is not None and not recorder.batches.expects(batch, endpoint.provider, body):
                return None
            streamed = operation.accumulate is not None and self.streamed(body)
            call = recorder.open(operation, self.library, endpoint, body, streamed=streamed)
            return ResultExchange(call, function, self) if call is not None else None

        return driven(open_call)


def receives(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that is given each answer first: one that the client then rejects is paid for."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = running_call(library)
        if call is not None and args:
            call.answered = args[0]
        return wrapped(*args, **kwargs)

    return Patch(module, path, wrapper)


class MethodExchange(Exchange):
    """One call of a function.

    Args:
        call: The open call.
        function: A function with the names of its arguments.
        write: Writes changed fields into its named arguments.
        read: Makes an answer of what it returned or had received.
    """

    __slots__ = ("_function", "_read", "_write")

    def __init__(self, call: Call, function: Any, write: Write, read: Callable[[Any], Any]) -> None:
        super().__init__(call)
        self._function = function
        self._write = write
        self._read = read

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments with the changes written into them."""
        if not self.call.changes:
            return args, kwargs
        arguments = named_arguments(self._function, args, kwargs)
        self._write(arguments, self.call.changes)
        return (), arguments

    def answer(self, error: BaseException) -> Any:
        """Return what had been received when the function raised."""
        received = self.call.answered
        try:
            return None if received is None else self._read(received)
        except Exception as fault:
            internal_errors.report("reading the answer", fault)
            return None


class ResultExchange(MethodExchange):
    """One call of a function, and its result.

    Args:
        call: The open call.
        function: A function with the names of its arguments.
        methods: The description of it.
    """

    __slots__ = ("_methods",)

    def __init__(self, call: Call, function: Any, methods: Methods) -> None:
        super().__init__(call, function, methods.write, methods.answer)
        self._methods = methods
        call.cause = methods.cause

    def receive(self, result: Any) -> Any:
        """Settle the call with the result, or follow the stream that it is."""
        call, methods = self.call, self._methods
        if call.answered is None:
            call.local = methods.local(call.body, result)
        accumulate = call.operation.accumulate
        if accumulate is not None and is_stream(result):
            call.streamed = True
            accumulator = accumulate(call.body, call.recorder.capture is not None)
            if not is_stream_object(result):
                return follow(call, result, accumulator)
            methods.stream_classes.follow(call, result, accumulator, methods.kept)
            return result
        headers = getters.field(result, "headers")
        if isinstance(headers, Mapping):
            call.headers = headers
        if accumulate is not None and (body := methods.events(result)) is not None:
            call.streamed = True
            tap_events(body, call, accumulate(call.body, call.recorder.capture is not None))
            return result
        if call.operation.batch is not None and isinstance(result, bytes):
            tap_content(result, call)
        else:
            raw = methods.received and call.answered is not None
            call.settle(self._read(call.answered if raw else result))
        return result


def is_stream(result: Any) -> bool:
    """Return whether a result is a stream of chunks; a file, as an HTTP response may be one, has lines."""
    steps = hasattr(result, "__next__") or hasattr(result, "__anext__")
    return steps and not isinstance(result, IOBase)


def driven(open_call: Open) -> Callable[..., Any]:
    """Return the wrapper of functions or methods, whatever kind they are of."""
    drivers = {
        kind: make(open_call)
        for kind, make in (
            ("plain", synchronous),
            ("coroutine", asynchronous),
            ("generator", generating),
            ("async generator", generating_async),
        )
    }

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return drivers[kind_of(wrapped)](wrapped, instance, args, kwargs)

    return wrapper


def of_both_kinds(plain: Wrapper, coroutine: Wrapper) -> Wrapper:
    """Return the wrapper of a function that may be a coroutine function or not, from one for each kind."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (coroutine if kind_of(wrapped) == "coroutine" else plain)(wrapped, instance, args, kwargs)

    return wrapper


def kind_of(wrapped: Any) -> str:
    """Return what a function or method is: `plain`, a `coroutine` function, a `generator` or an `async generator`."""
    return _kind(getattr(wrapped, "__func__", wrapped))


@lru_cache(1024)
def _kind(function: Any) -> str:
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(function) else "plain"


@lru_cache(1024)
def _names(function: Any, bound: bool) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return tuple(names[1:] if bound else names)


def named_arguments(
    wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any], beyond: str | None = None
) -> dict[str, Any]:
    """Return the arguments of a method by name.

    Those beyond the named parameters are left out, unless there is a name for a tuple of them: `beyond`.
    """
    if not args:
        return dict(kwargs)
    function = getattr(wrapped, "__func__", None)
    names = _names(wrapped, False) if function is None else _names(function, True)
    rest = args[len(names) :] if beyond is not None else ()
    return {**dict(zip(names, args, strict=False)), **kwargs, **({beyond: rest} if beyond and rest else {})}
