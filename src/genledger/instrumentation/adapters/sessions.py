"""Sessions over a socket that are one call each: billed by their seconds, or by what was sent in all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.context import Context, get_current

from genledger.engine.call import Call
from genledger.engine.driver import Exchange
from genledger.engine.operation import Received
from genledger.engine.recorder import Recorder
from genledger.engine.streams import watch
from genledger.shared import internal_errors


class SessionEvents(Protocol):
    """Puts the messages of one session together. A message is a JSON object, or bytes that are none."""

    def sent(self, message: Any) -> None:
        """Take in a message that has been sent."""
        ...

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        ...

    def response(self, seconds: float) -> Mapping[str, Any]:
        """Return what came of it, shaped like an answer.

        Args:
            seconds: How long the connection was open.
        """
        ...

    @property
    def complete(self) -> bool:
        """Return whether nothing more was to come, if the application closed the connection now."""
        ...

    @property
    def counted(self) -> bool:
        """Return whether what is billed is known for sure, and not only measured here."""
        ...


class SessionCall:
    """The call that one session is.

    Args:
        call: The open call.
        events: Puts its messages together.
    """

    asks = False

    def __init__(self, call: Call, events: SessionEvents) -> None:
        self._call = call
        self._events = events
        watch(self)

    def ask(self, recorder: Recorder, message: Any) -> Exchange | None:
        """Open no call: all that is asked belongs to this one."""
        return None

    def sent(self, message: Any) -> None:
        """Take in a message that has been sent."""
        self._take(self._events.sent, message)

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        self._take(self._events.hear, message)

    def _take(self, take: Any, message: Any) -> None:
        try:
            take(message)
        except Exception as fault:
            internal_errors.report("reading an event", fault)

    def end(self, error: BaseException | None = None, *, cut: bool = True) -> None:
        """The connection is closed, or broke: the session is what came until then."""
        if self._call.settled:
            return
        response, complete, received = None, True, None
        try:
            events = self._events
            response, complete = events.response(time.perf_counter() - self._call.started), events.complete
            received = None if events.counted else Received(0, measured=True)
        except Exception as fault:
            internal_errors.report("reading a session", fault)
        cut = cut and error is None and not complete
        self._call.settle(response, error=error, cut=cut, complete=complete, received=received)

    def fail(self, error: BaseException | None) -> None:
        """No connection was made, and nothing is billed.

        Args:
            error: Why, if that is known.
        """
        self._call.settle(error=error or ConnectionError("the client has opened no connection"))

    def closed(self) -> None:
        """End with the process."""
        self.end()

    def __del__(self) -> None:
        self.end()


OPENING: ContextVar[SessionCall | None] = ContextVar("genledger-opening", default=None)
"""The session that a client's method is opening a connection for."""


@dataclass(slots=True, eq=False)
class Connecting(Exchange):
    """A session that is being opened.

    Its call is not the current one meanwhile: what the client starts for it, and calls back from, outlives that.

    Args:
        call: The open call.
        session: The session.
        found: Follows the connection, given what the client's method returned and whether it is followed already;
            returns what the application gets.
    """

    session: SessionCall
    found: Callable[[Any, bool], Any]

    def enter(self) -> Context:
        """Stay in the application's own context."""
        OPENING.set(self.session)
        return get_current()

    def answer(self, error: BaseException) -> Any:
        """No session has begun."""
        OPENING.set(None)

    def receive(self, result: Any) -> Any:
        """Follow the connection; return what the application gets."""
        followed = OPENING.get() is None
        OPENING.set(None)
        return self.found(result, followed)
