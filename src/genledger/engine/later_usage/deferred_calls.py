"""Calls whose usage arrives with a later answer: background responses, polled jobs.

A call stays open, with its attribution, its parent and its reservation, until an answer says what came of it. That
answer may come to another process, which then completes the record; each is completed once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genledger.engine.foreign_spans.places import step_around
from genledger.engine.later_usage.job_book import MAX_REMEMBERED, CallStart, JobBook, Origin
from genledger.engine.later_usage.late_record import late_record, since
from genledger.engine.operation import Endpoint, Finished
from genledger.engine.streams import watch
from genledger.shared.text import bounded

if TYPE_CHECKING:
    from genledger.engine.call import Call
    from genledger.engine.recorder import Recorder

_ANSWER = "answer"
"""The one result that such a job has."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class DeferredCall:
    """One call that waits for its usage, and how its own request ended."""

    calls: DeferredCalls
    call: Call
    name: str
    alias: str | None
    answer: Any
    error: BaseException | None
    cut: bool

    def closed(self) -> None:
        """Nobody waits any longer: it may go on, and be billed."""
        if self.calls.take(self.call.endpoint.provider, self.name) is self:
            self.calls.leave(self)


class DeferredCalls:
    """The open calls of a recorder that wait for a later answer.

    Args:
        recorder: Settles them.
        book: Keeps whose they are.
    """

    def __init__(self, recorder: Recorder, book: JobBook) -> None:
        self._recorder = recorder
        self._book = book
        self._lock = threading.RLock()
        self._open: OrderedDict[tuple[str, str], DeferredCall] = OrderedDict()
        self._aliases: dict[tuple[str, str], str] = {}

    def defer(
        self,
        call: Call,
        name: str,
        *,
        alias: str | None = None,
        answer: Any = None,
        error: BaseException | None = None,
        cut: bool = False,
    ) -> None:
        """Let a call wait for its usage.

        Args:
            call: The open call.
            name: The provider's id of what it has begun.
            alias: Another name by which an answer may be known, such as the address of a stream.
            answer: What the provider has said so far.
            error: What broke the call's own request off.
            cut: The application stopped reading.
        """
        provider, name = call.endpoint.provider, bounded(name)
        waiting = DeferredCall(self, call, name, alias, answer, error, cut)
        with self._lock:
            self._open[provider, name] = waiting
            if alias is not None:
                self._aliases[provider, alias] = name
            oldest = next(iter(self._open)) if len(self._open) > MAX_REMEMBERED else None
        watch(waiting)
        self._book.remember(provider, name, Origin(call.attribution, _start_of(call)))
        if oldest is not None and (left := self.take(*oldest)) is not None:
            self.leave(left)

    def take(self, provider: str, name: str) -> DeferredCall | None:
        """Give a waiting call away, by its name or alias; `None` when it is not known here."""
        with self._lock:
            found = self._open.pop((provider, self._aliases.get((provider, name), name)), None)
            if found is not None and found.alias is not None:
                self._aliases.pop((provider, found.alias), None)
        return found

    def finish(self, endpoint: Endpoint, finished: Finished, answer: Any, *, headers: Any = None) -> None:
        """Settle the call that an answer carries the usage of, of this process or of another.

        Args:
            endpoint: Who answered.
            finished: Which job it is, and how it ended.
            answer: The provider's answer.
            headers: Headers of the answer.
        """
        provider, name = endpoint.provider, bounded(finished.job)
        answer = answer if finished.result is None else finished.result
        waiting = self.take(provider, name)
        if waiting is None:
            self._book.do(lambda: self._complete(endpoint, finished, answer, headers))
            return
        # Two processes that learn it in the same moment both record it, under the same ids.
        call, unclaimed = waiting.call, self._book.unclaimed(provider, name, (_ANSWER,))
        call.later = None if unclaimed else "elsewhere"
        call.refused = finished.error
        self._book.settled(provider, name, (_ANSWER,))
        if headers is not None:
            call.headers = headers
        call.conclude(answer, error=waiting.error, cut=finished.cancelled or waiting.cut)

    def leave(self, waiting: DeferredCall) -> None:
        """Stop waiting for a call: another process may still learn its usage, and then completes the record."""
        call = waiting.call
        if self._book.outlives_the_process:
            unclaimed = self._book.unclaimed(call.endpoint.provider, waiting.name, (_ANSWER,))
            call.later = "pending" if unclaimed else "elsewhere"
            call.conclude(waiting.answer, error=waiting.error, cut=waiting.cut)
        else:
            call.conclude(waiting.answer, error=waiting.error, cut=True, complete=False)

    def _complete(self, endpoint: Endpoint, finished: Finished, answer: Any, headers: Any) -> None:
        """Record the call of another process, unless it was recorded with its own answer or by somebody else."""
        provider, name = endpoint.provider, bounded(finished.job)
        origin = self._book.origin(provider, name)
        if origin is None or origin.call is None or not self._book.claim(provider, name, (_ANSWER,)):
            return
        start = origin.call
        record = late_record(
            start,
            origin.attribution,
            endpoint,
            answer,
            outcome="cancelled" if finished.cancelled else "error" if finished.error is not None else "success",
            error=finished.error,
            duration_s=since(start.started_ns),
            headers=headers,
        )
        self._recorder.book(record, start.family)


def _start_of(call: Call) -> CallStart:
    context = call.span.get_span_context()
    return CallStart(
        context.trace_id,
        context.span_id,
        step_around(call.span, call.outer),
        call.library,
        call.operation.name,
        call.operation.api,
        call.operation.family,
        call.model,
        call.started_ns,
        call.streamed,
    )
