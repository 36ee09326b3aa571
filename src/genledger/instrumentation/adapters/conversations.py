"""Conversations over a socket: many responses in one connection, each a separate call.

A response begins when the application asks for it, or when the provider decides to give one, and ends when the
provider says so, when it is refused, or with the connection.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from genledger.engine.call import Call
from genledger.engine.driver import Arguments, Exchange
from genledger.engine.operation import Body, Endpoint, Operation, Received, ResponseAccumulator
from genledger.engine.parents import parent_context
from genledger.engine.recorder import Recorder, active
from genledger.engine.streams import watch
from genledger.engine.suppression import recordable
from genledger.engine.to_json import plain
from genledger.pricing.getters import field
from genledger.shared import internal_errors

_FOLDED = 32


class Heard(NamedTuple):
    """Meaning of a provider's event.

    `opened` says what the session is like, `begun`, `chunk` and `ended` belong to the response with this id,
    `aside` is the answer of another model that works beside, and `failed` refuses the request with this id.
    Where responses have no ids, there is one at a time, and its first chunk begins it; `ended` has a value where
    it tells something of a response that nothing came of.
    """

    kind: Literal["opened", "begun", "chunk", "ended", "aside", "failed"]
    id: str | None = None
    value: Any = None


class ResponseEvents(ResponseAccumulator, Protocol):
    """Puts the events of one response together."""

    @property
    def cut(self) -> bool:
        """Return whether the provider has marked the response as interrupted."""
        ...


class Asked(NamedTuple):
    """A request for a response.

    Args:
        body: The request.
        id: The application's own id for it, if it has one.
        joins: Whether it is answered together with a request that is `waiting` for its response, or also goes on with
            a response that is `open`.
    """

    body: Mapping[str, Any]
    id: str | None = None
    joins: Literal["waiting", "open"] | None = None


@dataclass(frozen=True, slots=True)
class Conversations:
    """How the connections of a client library are read.

    Args:
        library: The library's name for users.
        operation: The operation of a response.
        accumulate: Puts the events of one response together.
        hears: Reads an event of the provider, typed or as JSON; `None` when it says nothing of a call.
        asks: Reads an event of the application, as JSON; `None` when it asks for no response.
        aside: The operation of what is done beside the responses, if anything is.
        aside_body: What a session, as it was last described, asks to be done beside the responses.
    """

    library: str
    operation: Operation
    accumulate: Callable[[], ResponseEvents]
    hears: Callable[[Any], Heard | None]
    asks: Callable[[Any], Asked | None]
    aside: Operation | None = None
    aside_body: Callable[[Any], Body] = lambda session: {}


class Conversation:
    """One open connection.

    Args:
        kind: How it is read.
        endpoint: Who answers.
        body: What every response is asked for with, such as the model.
    """

    asks = True

    def __init__(self, kind: Conversations, endpoint: Endpoint, body: Body) -> None:
        self._kind = kind
        self._peer = endpoint
        self._body = body
        self._context = parent_context()
        self._described: Any = None
        self._asked: deque[Asking] = deque()
        self._open: dict[str | None, _Response] = {}
        watch(self)

    def ask(self, recorder: Recorder, event: Any) -> Asking | None:
        """Open a call, if the application is about to ask for a response with this event."""
        asked = self._kind.asks(plain(event))
        if asked is None or (asked.joins and (self._asked or (asked.joins == "open" and self._open))):
            return None
        call = self._open_call(recorder, self._kind.operation, asked.body)
        return Asking(call, self._asked, asked.id) if call is not None else None

    def hear(self, event: Any) -> None:
        """Take in an event of the provider."""
        try:
            heard = self._kind.hears(event)
            if heard is not None:
                getattr(self, f"_{heard.kind}")(heard, event)
        except Exception as error:
            internal_errors.report("reading an event", error)

    def sent(self, event: Any) -> None:
        """Take in an event that has been sent: `ask` was given it."""

    def end(self, error: BaseException | None = None, *, cut: bool = True) -> None:
        """The connection is closed, or broke: every response that is open ends with it, unfinished."""
        while self._asked:
            self._asked.popleft().call.settle(error=error, cut=True)
        while self._open:
            self._open.popitem()[1].settle(error=error, cut=True)

    def closed(self) -> None:
        """End with the process."""
        self.end()

    def __del__(self) -> None:
        self.end()

    def _open_call(self, recorder: Recorder, operation: Operation, body: Body, **options: Any) -> Call | None:
        return recorder.open(operation, self._kind.library, self._peer, {**self._body, **body}, **options)

    def _open_unasked(self, operation: Operation, body: Body) -> Call | None:
        """Open a call that the application did not ask for: it belongs to where the session was opened."""
        recorder = active()
        if recorder is None or recordable(self._context) is None:
            return None
        return self._open_call(recorder, operation, body, context=self._context)

    def _opened(self, heard: Heard, event: Any) -> None:
        self._described = heard.value
        model = field(heard.value, "model")
        if isinstance(model, str) and model:
            self._body = {**self._body, "model": model}

    def _begun(self, heard: Heard, event: Any) -> None:
        call = self._asked.popleft().call if self._asked else self._open_unasked(self._kind.operation, {})
        if call is not None:
            self._open[heard.id] = _Response(call, self._kind.accumulate())

    def _chunk(self, heard: Heard, event: Any) -> None:
        if heard.id is None and not self._open:
            self._begun(heard, event)
        response = self._open.get(heard.id)
        if response is not None:
            response.add(event)

    def _ended(self, heard: Heard, event: Any) -> None:
        if heard.id is None and not self._open and (self._asked or heard.value is not None):
            self._begun(heard, event)
        response = self._open.pop(heard.id, None)
        if response is not None:
            response.add_last(event)
            response.settle()

    def _aside(self, heard: Heard, event: Any) -> None:
        operation = self._kind.aside
        call = self._open_unasked(operation, self._kind.aside_body(self._described)) if operation is not None else None
        if call is not None:
            call.settle(heard.value)

    def _failed(self, heard: Heard, event: Any) -> None:
        """A request was refused: the one with this id, or, when there is none, the last one."""
        for asking in reversed(self._asked):
            if heard.id is None or heard.id == asking.id:
                self._asked.remove(asking)
                asking.call.settle(heard.value)
                return


@dataclass(slots=True, eq=False)
class Asking(Exchange):
    """A request for a response; what comes over the connection later settles its call.

    Args:
        call: The open call.
        asked: The requests over its connection that no response has begun for.
        id: The application's own id for it, if it has one.
    """

    asked: deque[Asking]
    id: str | None

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Expect the response from now on: it may come before the client returns."""
        self.asked.append(self)
        return args, kwargs

    def answer(self, error: BaseException) -> Any:
        """Expect no response when the request could not be sent."""
        if self in self.asked:
            self.asked.remove(self)

    def receive(self, result: Any) -> Any:
        """Leave the call open."""
        return result


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
                response, complete = received.response(), bool(received.complete)
                came = Received(received.text_length())
                cut = cut or received.cut
        except Exception as fault:
            internal_errors.report("reading a response", fault)
        self.call.settle(response, error=error, cut=cut, complete=complete, received=came)
