"""Sessions over a socket: many responses in one connection, each a call of its own.

A response begins when the application asks for it, or when the provider decides to give one, and ends when the
provider says so, when it is refused, or with the connection.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from opentelemetry.context import attach, get_current

from genledger.engine.call import Call
from genledger.engine.operation import Body, Endpoint, Operation, Received
from genledger.engine.recorder import active, suppressed
from genledger.engine.streams import watch
from genledger.engine.to_json import plain
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field
from genledger.shared import internal_errors

_FOLDED = 32


class Heard(NamedTuple):
    """What an event of the provider means.

    `opened` says what the session is like, `begun`, `chunk` and `ended` belong to the response with this id,
    `aside` is the answer of another model that works beside, and `failed` refuses the request with this id.
    """

    kind: Literal["opened", "begun", "chunk", "ended", "aside", "failed"]
    id: str | None = None
    value: Any = None


class ResponseEvents(Protocol):
    """Puts the events of one response together."""

    def fold(self, events: Iterable[Any]) -> None:
        """Take in more events."""
        ...

    def response(self) -> Mapping[str, Any]:
        """The response, as far as it has come."""
        ...

    def text_length(self) -> int:
        """Bytes of generated text received so far, for an estimate when the usage never came."""
        ...

    @property
    def complete(self) -> bool:
        """Whether the provider has said that it has ended."""
        ...

    @property
    def cut(self) -> bool:
        """Whether the provider has said that it was interrupted."""
        ...


class Asked(NamedTuple):
    """A request for a response, and the application's own id for it, if it has one."""

    body: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Sessions:
    """The connections of a client library.

    Args:
        library: The import package.
        module: The module that the classes are in.
        connection: The class of an open connection: `send`, `recv_bytes`, `parse_event`, `close`.
        manager: The class of the context manager that opens it, also with `enter`.
        asynchronous: Whether their methods are coroutine functions.
        endpoint: Finds whom a manager connects to, and the model that it asks for.
        operation: The operation of a response.
        accumulate: Puts the events of one response together.
        aside: The operation of what is done beside the responses.
        hears: Reads an event of the provider, by attribute; `None` when it says nothing of a call.
        asks: Reads an event of the application, as JSON; `None` when it asks for no response.
        aside_body: What a session, as it was last described, asks to be done beside the responses.
    """

    library: str
    module: str
    connection: str
    manager: str
    asynchronous: bool
    endpoint: Callable[[Any], tuple[Endpoint, str | None]]
    operation: Operation
    accumulate: Callable[[], ResponseEvents]
    aside: Operation
    hears: Callable[[Any], Heard | None]
    asks: Callable[[Any], Asked | None]
    aside_body: Callable[[Any], Body]


class Session:
    """One open connection."""

    def __init__(self, kind: Sessions, endpoint: Endpoint, model: str | None) -> None:
        self._kind = kind
        self._peer = endpoint
        self._model = model
        self._context = get_current()
        self._described: Any = None
        self._asked: deque[tuple[str | None, _Response]] = deque()
        self._open: dict[str | None, _Response] = {}
        watch(self)

    def ask(self, event: Any) -> Call | None:
        """Open a call, if the application is about to ask for a response with this event."""
        try:
            asked = self._kind.asks(plain(event))
            if asked is None:
                return None
            call = self._start(self._kind.operation, asked.body)
            if call is None:
                return None
            self._asked.append((asked.id, _Response(call, self._kind.accumulate())))
            return call
        except Exception as error:
            internal_errors.report("opening a call", error)
            return None

    def not_asked(self, call: Call) -> None:
        """Forget a request that was never sent."""
        for entry in list(self._asked):
            if entry[1].call is call:
                self._asked.remove(entry)

    def hear(self, event: Any) -> None:
        """Take in an event of the provider."""
        try:
            heard = self._kind.hears(event)
            if heard is not None:
                getattr(self, f"_{heard.kind}")(heard, event)
        except Exception as error:
            internal_errors.report("reading an event", error)

    def end(self, error: BaseException | None = None) -> None:
        """The connection is closed, or broke: every response that is open ends with it."""
        responses = [response for _, response in self._asked]
        self._asked.clear()
        while self._open:
            responses.append(self._open.popitem()[1])
        for response in responses:
            response.settle(error=error, cut=True)

    def closed(self) -> None:
        """End with the process."""
        self.end()

    def __del__(self) -> None:
        self.end()

    def _start(self, operation: Operation, body: Body) -> Call | None:
        recorder = active()
        if recorder is None or suppressed(get_current()):
            return None
        return recorder.open(operation, self._kind.library, self._peer, {"model": self._model, **body})

    def _start_unasked(self, operation: Operation, body: Body) -> Call | None:
        """Open a call that the application did not ask for: it belongs to where the session was opened."""
        outer = get_current()
        attach(self._context)
        try:
            return self._start(operation, body)
        finally:
            attach(outer)

    def _opened(self, heard: Heard, event: Any) -> None:
        self._described = heard.value
        model = field(heard.value, "model")
        if isinstance(model, str) and model:
            self._model = model

    def _begun(self, heard: Heard, event: Any) -> None:
        if self._asked:
            response = self._asked.popleft()[1]
        else:
            call = self._start_unasked(self._kind.operation, {})
            if call is None:
                return
            response = _Response(call, self._kind.accumulate())
        self._open[heard.id] = response

    def _chunk(self, heard: Heard, event: Any) -> None:
        response = self._open.get(heard.id)
        if response is not None:
            response.add(event)

    def _ended(self, heard: Heard, event: Any) -> None:
        response = self._open.pop(heard.id, None)
        if response is not None:
            response.add_last(event)
            response.settle()

    def _aside(self, heard: Heard, event: Any) -> None:
        call = self._start_unasked(self._kind.aside, self._kind.aside_body(self._described))
        if call is not None:
            call.settle(heard.value)

    def _failed(self, heard: Heard, event: Any) -> None:
        """A request was refused: the one with this id, or, when there is none, the last one."""
        for entry in reversed(self._asked):
            if heard.id is None or heard.id == entry[0]:
                self._asked.remove(entry)
                entry[1].call.settle(heard.value)
                return


class _Response:
    """A response that is being received."""

    __slots__ = ("_chunks", "_received", "call", "stamps")

    def __init__(self, call: Call, received: ResponseEvents) -> None:
        self.call = call
        self.stamps: list[float] = []
        self._chunks: list[Any] = []
        self._received = received

    def add(self, event: Any) -> None:
        """Take in an event with a piece of it."""
        stamps, call = self.stamps, self.call
        stamps.append(time.perf_counter())
        if call.first_chunk is None:
            call.first_chunk = stamps[0]
            call.stamps = stamps
            call.streamed = True
        self.add_last(event)
        if len(self._chunks) >= _FOLDED:
            self._fold()

    def add_last(self, event: Any) -> None:
        """Take in an event that is no piece of it."""
        self._chunks.append(event)

    def _fold(self) -> None:
        self._received.fold(self._chunks)
        self._chunks.clear()

    def settle(self, *, error: BaseException | None = None, cut: bool = False) -> None:
        """End it with what has been received."""
        response, complete, came = None, True, None
        try:
            self._fold()
            received = self._received
            if self.stamps or received.complete:
                response, complete = received.response(), received.complete
                came = Received(received.text_length())
                cut = cut or received.cut
        except Exception as fault:
            internal_errors.report("reading a response", fault)
        self.call.settle(response, error=error, cut=cut, complete=complete, received=came)


class SocketClient:
    """The patches of the connections of one client library."""

    def __init__(self, kind: Sessions) -> None:
        self._kind = kind
        self._sessions: weakref.WeakKeyDictionary[Any, Session] = weakref.WeakKeyDictionary()

    def patches(self) -> Patches:
        """What to patch, and with what."""
        kind = self._kind
        entering = ("__aenter__", "enter") if kind.asynchronous else ("__enter__", "enter")
        enter, send, receive, close = (
            (self._aenter, self._asend, self._areceive, self._aclose)
            if kind.asynchronous
            else (self._enter, self._send, self._receive, self._close)
        )
        return [
            *(Patch(kind.module, f"{kind.manager}.{name}", enter, optional=True) for name in entering),
            Patch(kind.module, f"{kind.connection}.send", send, optional=True),
            Patch(kind.module, f"{kind.connection}.recv_bytes", receive, optional=True),
            Patch(kind.module, f"{kind.connection}.parse_event", self._parse, optional=True),
            Patch(kind.module, f"{kind.connection}.close", close, optional=True),
        ]

    def _begin(self, manager: Any, connection: Any) -> None:
        try:
            endpoint, model = self._kind.endpoint(manager)
            self._sessions[connection] = Session(self._kind, endpoint, model)
        except Exception as error:
            internal_errors.report("opening a session", error)

    def _enter(self, wrapped: Any, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        connection = wrapped(*args, **kwargs)
        self._begin(manager, connection)
        return connection

    async def _aenter(self, wrapped: Any, manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        connection = await wrapped(*args, **kwargs)
        self._begin(manager, connection)
        return connection

    def _asking(self, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Session, Call] | None:
        session = self._sessions.get(connection)
        call = session.ask(args[0] if args else kwargs.get("event")) if session is not None else None
        return (session, call) if session is not None and call is not None else None

    def _send(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        asking = self._asking(connection, args, kwargs)
        if asking is None:
            return wrapped(*args, **kwargs)
        session, call = asking
        try:
            call.admit()
            return wrapped(*args, **kwargs)
        except BaseException as error:
            session.not_asked(call)
            call.settle(error=error)
            raise

    async def _asend(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        asking = self._asking(connection, args, kwargs)
        if asking is None:
            return await wrapped(*args, **kwargs)
        session, call = asking
        try:
            await call.admit_async()
            return await wrapped(*args, **kwargs)
        except BaseException as error:
            session.not_asked(call)
            call.settle(error=error)
            raise

    def _receive(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            self._lost(connection, error)
            raise

    async def _areceive(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            self._lost(connection, error)
            raise

    def _parse(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        event = wrapped(*args, **kwargs)
        session = self._sessions.get(connection)
        if session is not None:
            session.hear(event)
        return event

    def _close(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return wrapped(*args, **kwargs)
        finally:
            self._closed(connection)

    async def _aclose(self, wrapped: Any, connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        finally:
            self._closed(connection)

    def _lost(self, connection: Any, error: Exception) -> None:
        """Receiving failed: the connection is gone, unless it was only for want of time."""
        names = {kind.__name__ for kind in type(error).__mro__}
        session = self._sessions.get(connection)
        if session is not None and "ConnectionClosed" in names:
            session.end(None if "ConnectionClosedOK" in names else error)

    def _closed(self, connection: Any) -> None:
        session = self._sessions.get(connection)
        if session is not None:
            session.end()
