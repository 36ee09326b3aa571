"""Clients with an HTTP client class of their own, a child of httpx's, and with loops above that repeat its requests.

The class sends each attempt by `send`. A loop is a function that is given the `url` and the `json` of a request, and
gives the response that counts: a method, or a function that each object has for itself. What no loop repeats is one
call of `send`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from genledger.engine.call import running_call
from genledger.engine.driver import (
    Arguments,
    Exchange,
    Open,
    Wrapper,
    asynchronous,
    entering,
    entering_async,
    synchronous,
)
from genledger.engine.operation import Body, Operation, StreamAccumulator, with_changes
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.http_response import parse, tapped
from genledger.instrumentation.adapters.request_method import LineTap
from genledger.instrumentation.adapters.retries import answering
from genledger.instrumentation.adapters.wire import Paths, WireClient, WireExchange, body_of, request_with
from genledger.instrumentation.patching import Patch, Patches, held


class Loop(NamedTuple):
    """A function that repeats a request until it works.

    Args:
        module: The module of its class.
        cls: The class.
        name: The function.
        streams: Whether it gives a context manager, in which the response is read; else it gives the response.
        asynchronous: Whether it is a coroutine function, or gives an asynchronous context manager.
        held: Whether each object of the class has its own; else it is a method.
    """

    module: str
    cls: str
    name: str
    streams: bool = False
    asynchronous: bool = False
    held: bool = False


class HttpxClient:
    """The patches of one client library.

    Args:
        client: The library; its endpoints are named by the path of their URL, with `*` for a segment that varies.
        classes: Its HTTP client classes, each as its module and its name.
        loops: What repeats requests.
    """

    def __init__(self, client: WireClient, classes: tuple[tuple[str, str], ...], loops: tuple[Loop, ...]) -> None:
        self._client = client
        self._classes = classes
        self._loops = loops
        self._paths = Paths(client.operations)

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        found: Patches = [Patch(module, f"{cls}.send", self._send(), optional=True) for module, cls in self._classes]
        for loop in self._loops:
            kinds: dict[tuple[bool, bool], Callable[[Open], Wrapper]] = {
                (False, False): synchronous,
                (False, True): asynchronous,
                (True, False): entering,
                (True, True): entering_async,
            }
            wrapper = kinds[loop.streams, loop.asynchronous](self._repeated(loop.streams))
            if loop.held:
                found.append(held(loop.module, loop.cls, loop.name, wrapper))
            else:
                found.append(Patch(loop.module, f"{loop.cls}.{loop.name}", wrapper, optional=True))
        return found

    def _send(self) -> Wrapper:
        drivers = {True: asynchronous(self._once), False: synchronous(self._once)}
        again = answering(self._client.library)

        def send(wrapped: Any, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            """Send a request: one more attempt at the call that runs, or a call."""
            if running_call(self._client.library) is not None:
                return again(wrapped, http, args, kwargs)
            return drivers[iscoroutinefunction(wrapped)](wrapped, http, args, kwargs)

        return send

    def _once(
        self, recorder: Recorder, wrapped: Any, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        request = args[0] if args else kwargs["request"]
        operation = self._operation(request.method, request.url)
        if operation is None:
            return None
        body = body_of(request)

        def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
            sent = request_with(request, body, self._changed(body, changes))
            return (), {**kwargs, "request": sent}

        return self._open(recorder, operation, http, request.url, body, write, streamed=bool(kwargs.get("stream")))

    def _repeated(self, streams: bool) -> Open:
        def open_call(
            recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> Exchange | None:
            url, body = kwargs.get("url"), kwargs.get("json")
            operation = self._operation(kwargs.get("method", "POST"), url)
            if operation is None or not isinstance(body, Mapping):
                return None

            def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
                return args, {**kwargs, "json": with_changes(body, self._changed(body, changes))}

            return self._open(recorder, operation, instance, url, body, write, streamed=streams)

        return open_call

    def _operation(self, method: str, url: Any) -> Operation | None:
        return self._paths.operation(urlsplit(str(url)).path) if method == "POST" and url else None

    def _open(
        self, recorder: Recorder, operation: Operation, client: Any, url: Any, body: Body, write: Any, *, streamed: bool
    ) -> Exchange | None:
        asked, named = dict(body), self._client.model
        if named in asked:
            asked["model"] = asked.pop(named)
        endpoint = self._client.endpoint(client, str(url))
        streams = streamed and operation.accumulate is not None
        call = recorder.open(operation, self._client.library, endpoint, asked, streamed=streams)
        return ResponseExchange(call, write) if call is not None else None

    def _changed(self, body: Body, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return changes by the names that the fields of a request have."""
        if "model" not in changes or self._client.model not in body:
            return changes
        return {self._client.model if name == "model" else name: value for name, value in changes.items()}


class ResponseExchange(WireExchange):
    """One request, and its response: httpx's, or, of older clients that are told so, that of requests."""

    __slots__ = ()

    def read(self, response: Any, accumulator: StreamAccumulator | None) -> None:
        """Settle the call when the application has read a response."""
        if hasattr(response, "is_stream_consumed"):
            super().read(response, accumulator)
        elif accumulator is None:
            self.call.settle(parse(response.content))
        else:
            tap, lines = LineTap(self.call, accumulator), response.iter_lines

            def iter_lines(*args: Any, **options: Any) -> Iterator[bytes]:
                try:
                    yield from tapped(lines(*args, **options), tap)
                finally:
                    tap.closed()

            response.iter_lines = iter_lines
