"""Clients whose requests all pass one private method, or one for each kind of answer.

The method is given the parts of a request. It returns what the client made of the answer, or a stream: of parsed
items, or of the lines of server-sent events; or it returns the HTTP response. It may be synchronous or a coroutine
function; a stream's request may be sent by the method, or when the first item is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from genledger.engine.call import Call
from genledger.engine.driver import Exchange, asynchronous, follow, generating, generating_awaited, synchronous
from genledger.engine.operation import Body, Endpoint, Operation, StreamAccumulator
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.http_response import ResponseTap, parse, tap, tapped
from genledger.instrumentation.adapters.methods import kind_of
from genledger.instrumentation.adapters.wire import WireExchange, Write
from genledger.instrumentation.patching import Patch, Patches

Follow = Callable[[Call, Any, StreamAccumulator], Any]
"""`follow(call, stream, accumulator)`: return the stream for the application; it settles the call when it ends."""


class Request(NamedTuple):
    """What a client is about to send.

    Args:
        operation: What it asks for.
        endpoint: Where it goes.
        body: Its fields, by the provider's names.
        streamed: Whether its answer is a stream.
    """

    operation: Operation
    endpoint: Endpoint
    body: Body
    streamed: bool


@dataclass(frozen=True, slots=True)
class RequestClient:
    """A client library.

    Args:
        library: The library's name for users.
        methods: The methods, synchronous and not: each as its module and `Class.method`.
        request: Reads a request from the instance and the arguments; `None` for one that is no call.
        write: Writes changed fields of the request into a copy of the arguments.
        answer: Makes an answer, as the operation reads it, of what the method returned. It raises `ErrorEvent` for one
            that is an error.
        lazy: Whether the request of a stream is sent when its first item is asked for.
        follow: Follows a stream: `follow` its parsed items, or `follow_lines` of events.
        responds: Whether the method returns the HTTP response. Then `answer` is given its JSON, and a stream of it is
            read as it comes.
    """

    library: str
    methods: tuple[tuple[str, str], ...]
    request: Callable[[Any, tuple[Any, ...], dict[str, Any]], Request | None]
    write: Write
    answer: Callable[[Operation, Any], Any] = lambda operation, result: result
    lazy: bool = False
    follow: Follow = follow
    responds: bool = False

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [Patch(module, method, self._wrapper()) for module, method in self.methods]

    def _wrapper(self) -> Callable[..., Any]:
        whole = {"plain": synchronous(self._open), "coroutine": asynchronous(self._open)}
        lazy = {"plain": generating(self._open), "coroutine": generating_awaited(self._open)}

        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            drivers = lazy if self.lazy and kwargs.get("stream") else whole
            return drivers[kind_of(wrapped.__func__)](wrapped, instance, args, kwargs)

        return wrapper

    def _open(
        self, recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        request = self.request(instance, args, kwargs)
        if request is None:
            return None
        operation, endpoint, body, streamed = request
        call = recorder.open(operation, self.library, endpoint, body, streamed=streamed)
        if call is None:
            return None
        return (RespondedExchange if self.responds else RequestExchange)(call, self)


class RequestExchange(WireExchange):
    """One request, and what the client made of its answer."""

    __slots__ = ("_client",)

    def __init__(self, call: Call, client: RequestClient) -> None:
        super().__init__(call, client.write)
        self._client = client

    def receive(self, result: Any) -> Any:
        """Settle the call with the result, or follow the stream that it is."""
        call = self.call
        accumulate = call.operation.accumulate
        if call.streamed and accumulate is not None:
            return self._client.follow(call, result, accumulate(call.body, call.recorder.capture is not None))
        call.settle(self._client.answer(call.operation, result))
        return result


class RespondedExchange(WireExchange):
    """One request, and its HTTP response."""

    __slots__ = ("_client",)

    def __init__(self, call: Call, client: RequestClient) -> None:
        super().__init__(call, client.write)
        self._client = client

    def read(self, response: Any, accumulator: StreamAccumulator | None) -> None:
        """Settle the call when the client has read a response."""
        call, answer, operation = self.call, self._client.answer, self.call.operation

        def read(data: bytes) -> Any:
            found = parse(data)
            try:
                return answer(operation, found) if found is not None else None
            except ErrorEvent as error:
                call.settle(found, error=error)
                return None

        tap(response, call, accumulator, read)


def parsed(answer: bytes) -> Any:
    """Return the JSON object that an answer is, or the first of several; an empty one for vectors and media."""
    if not answer.startswith((b"{", b"[{")):
        return {}
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return {}
    return found[0] if isinstance(found, list) else found


def follow_lines(call: Call, source: Any, accumulator: StreamAccumulator) -> Iterator[Any] | AsyncIterator[Any]:
    """Return an iterator over the lines of a stream of events, of its kind, that settles the call when it ends."""
    tap = LineTap(call, accumulator)
    return AsyncLines(aiter(source), tap) if hasattr(source, "__aiter__") else tapped(iter(source), tap)


class LineTap(ResponseTap):
    """Reads a stream of events from the lines that a client takes it apart into.

    The client stops at the event that ends the stream, or raises at one that is an error, and reads on in neither case.
    """

    def __init__(self, call: Call, accumulator: StreamAccumulator) -> None:
        super().__init__(call, accumulator, {"content-type": "text/event-stream"})

    def feed(self, data: str | bytes) -> None:
        """Take in a line, with or without what ends it."""
        line = data.encode() if isinstance(data, str) else data
        super().feed(line if line.endswith(b"\n") else line + b"\n")
        if self.ended:
            self.finish(None)


class AsyncLines:
    """Passes the lines of an asynchronous stream on to the client, and feeds a listener."""

    __slots__ = ("__weakref__", "_source", "_tap")

    def __init__(self, source: AsyncIterator[Any], tap: LineTap) -> None:
        self._source = source
        self._tap = tap

    def __aiter__(self) -> AsyncLines:
        return self

    async def __anext__(self) -> Any:
        tap = self._tap
        tap.asks()
        try:
            line = await anext(self._source)
        except StopAsyncIteration:
            tap.finish(None)
            raise
        except BaseException as error:
            tap.finish(error)
            raise
        tap.feed(line)
        return line

    async def aclose(self) -> None:
        """End the call, then the source."""
        self._tap.closed()
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
