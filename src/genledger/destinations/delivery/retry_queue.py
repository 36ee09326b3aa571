"""Requests on their way to one receiver: sent, tried again, split, kept on disk, or given up."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genledger.destinations.delivery import otlp_request
from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.delivery.http_exporter import Answer, Sender
from genledger.destinations.delivery.time_source import Clock
from genledger.shared.loggers import logger_of

if TYPE_CHECKING:
    from genledger.destinations.delivery.spool import Spool

log = logger_of("genledger")

FIRST_PAUSE_S = 1.0
"""Upper bound of the pause after a first failure; it doubles with every further one."""

LONGEST_PAUSE_S = 60.0
"""Upper bound of any pause that the receiver did not ask for itself."""

LAST_TRY_S = 1.0
"""Seconds that a receiver in trouble is given at exit."""

_DISK_AGAIN_S = 3600.0


@dataclass(slots=True)
class Batch:
    """One request, or a part of one.

    `rows` are those in the spool that the spans in it have; `kept` says that there is one, and that it is this very
    request. `alone` says that none joins it.
    """

    data: bytes
    spans: int
    rows: Sequence[int] = ()
    kept: bool = False
    alone: bool = False


class RetryQueue:
    """The requests of one delivery. Its methods run in the delivery's thread, unless they say otherwise.

    What the receiver does not take stays: on disk if there is a spool, in memory otherwise. After a failure
    there is a pause for all requests, drawn at random from an interval that doubles each time ("full
    jitter"), and at least as long as the receiver asked for.
    """

    def __init__(self, name: str, sender: Sender, limits: Limits, spool: Spool | None, clock: Clock) -> None:
        self.name = name
        self.sender = sender
        self.spool = spool
        self._limits = limits
        self._clock = clock
        self.start_empty()

    def start_empty(self) -> None:
        """Begin anew, as at first, and in a forked child."""
        self.sent = 0
        self.retried = 0
        self.spooled = 0
        self.dropped: Counter[str] = Counter()
        self.problem: str | None = None
        self._said: str | None = None
        self._lock = threading.Lock()
        self._batches: deque[Batch] = deque()
        self._bytes = 0
        self._in_flight: Batch | None = None
        self._moving = threading.Lock()
        self._cut_off = False
        self.taken_over = False
        self._failures = 0
        self._next_attempt = float("-inf")
        self._asked_to_wait = False
        self._refused = False
        self._disk_said_at = float("-inf")

    @property
    def failing(self) -> bool:
        """Return whether the last attempt failed."""
        return self._failures > 0

    @property
    def due_in(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._next_attempt - self._clock.now())

    def is_empty(self) -> bool:
        """Whether nothing waits, in memory or on disk. From any thread."""
        return not self._batches and self._in_flight is None and (self.spool is None or self.spool.is_empty())

    def waiting(self) -> int:
        """Spans that wait in memory. From any thread."""
        return sum(batch.spans for batch in tuple(self._batches))

    def hurry(self) -> None:
        """Do not wait for the end of a pause, unless the receiver asked for it."""
        if not self._asked_to_wait:
            self._next_attempt = float("-inf")

    def drop(self, spans: int, reason: str) -> None:
        """Count spans that go nowhere. From any thread."""
        with self._lock:
            self.dropped[reason] += spans

    def add(self, batch: Batch) -> None:
        """Take a request."""
        with self._lock:
            self._batches.append(batch)
            self._bytes += len(batch.data)

    def send(
        self, closing_at: Callable[[], float | None], between: Callable[[], None], meanwhile: Callable[[], None]
    ) -> None:
        """Send until nothing is left, the receiver stops taking it, or, when closing, time is up.

        Args:
            closing_at: When everything must be over, once that is known.
            between: Called after each request: the queue must not fill up meanwhile.
            meanwhile: Called now and then while a request waits for its answer.
        """
        while not self.taken_over and self._clock.now() >= self._next_attempt:
            timeout = self._limits.timeout_s
            end = closing_at()
            if end is not None:
                timeout = min(timeout, 0.75 * (end - self._clock.now()), LAST_TRY_S if self.failing else timeout)
                if timeout <= 0:
                    break
            batch = self._next(closing=end is not None)
            if batch is None:
                break
            answer = self.sender.send(batch.data, timeout, meanwhile)
            with self._lock:
                if self.taken_over:
                    return
                self._in_flight = None
            self._settle(batch, answer)
            between()
        if self.failing or self._bytes > self._limits.memory_bytes:
            self._spill()
        self._bound()
        if self.spool is not None:
            if self.failing:
                self.spool.expire()
            self.spool.tidy()

    def _next(self, *, closing: bool) -> Batch | None:
        with self._lock:
            if self.taken_over:
                return None
            if self._batches:
                self._in_flight = batch = _join(self._pop_together(self._limits.batch_spans))
                batch.alone = True
                return batch
        if self.spool is None or self._refused:
            return None
        # What former processes left must not hold up the end of this one.
        kept = self.spool.claim(self._limits.batch_spans, self._limits.batch_bytes, own=closing)
        if kept is not None:
            self._in_flight = Batch(kept.data, kept.spans, (kept.row,), kept=True, alone=True)
        return self._in_flight

    def keep(self) -> None:
        """Put on disk what is under way and what waits behind it, as the receiver takes its time with an answer."""
        with self._moving:
            batch = self._in_flight
            if batch is not None and not batch.kept and not self.taken_over:
                self._put(batch, held=True)
        self._spill()
        self._bound()

    # What an answer means

    def _settle(self, batch: Batch, answer: Answer) -> None:
        if answer.verdict == "delivered":
            self.sent += batch.spans - answer.rejected
            self._recovered()
            if answer.rejected:
                self.drop(answer.rejected, "rejected")
                self._complain(answer, logging.WARNING, "they are not sent again")
            self._finish(batch)
        elif answer.verdict == "retry":
            self.retried += batch.spans
            self._failed(answer)
            self._back(batch)
        elif answer.verdict == "too_large":
            self._make_smaller(batch, answer)
        else:
            self._refuse(batch, answer)

    def _recovered(self) -> None:
        self.problem = None
        if self._failures or self._refused:
            self._said = None
            log.warning(
                "genledger: destination %s (%s): recovered; it accepts records again", self.name, self.sender.endpoint
            )
        self._failures = 0
        self._next_attempt = float("-inf")
        self._refused = False

    def _failed(self, answer: Answer) -> None:
        self._failures += 1
        self._asked_to_wait = bool(answer.retry_after_s)
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
        self._next_attempt = self._clock.now() + max(random.uniform(0.0, longest), answer.retry_after_s or 0.0)
        if self._failures == 1:
            self._complain(answer, logging.WARNING, "records are kept and sent when it takes them again")

    def _make_smaller(self, batch: Batch, answer: Answer) -> None:
        halves = otlp_request.halve(batch.data)
        if halves is not None:
            parts = [Batch(data, spans, alone=True) for data, spans in halves]
        else:
            trimmed = otlp_request.trim(batch.data, len(batch.data) // 2)
            if trimmed is None:
                self._refuse(batch, answer)
                return
            parts = [Batch(trimmed, 1, alone=True)]
        parts[-1].rows = batch.rows  # what is on disk is needed until the last part is safe
        with self._lock:
            self._batches.extendleft(reversed(parts))
            self._bytes += sum(len(part.data) for part in parts)

    def _refuse(self, batch: Batch, answer: Answer) -> None:
        """The receiver will never take this request."""
        self._failures = 0
        self._complain(answer, logging.ERROR, "this is final: such records are dropped and counted")
        about_us = answer.verdict == "refused" and answer.reason not in ("http_400", "grpc_invalid_argument")
        if about_us:
            self._refused = True
        if about_us and batch.kept:
            # It is the sender that is refused, not the data: what a former process left waits until the
            # settings are right again.
            self._back(batch)
            return
        self.drop(batch.spans, answer.reason)
        self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        """It needs no keeping any more."""
        if self.spool is not None:
            self.spool.done(batch.rows)

    def _complain(self, answer: Answer, level: int, then: str) -> None:
        """Say once what is wrong; again only after it was right, or when something else is wrong."""
        self.problem = problem = answer.detail or answer.reason
        if self._said != answer.reason:
            self._said = answer.reason
            log.log(level, "genledger: destination %s (%s): %s; %s", self.name, self.sender.endpoint, problem, then)

    # Keeping what cannot be sent

    def _back(self, batch: Batch) -> None:
        """Put a request back to where it waits."""
        if batch.kept and self.spool is not None:
            for row in batch.rows:
                self.spool.release(row, batch.spans)
            return
        with self._lock:
            self._batches.appendleft(batch)
            self._bytes += len(batch.data)

    def _bound(self) -> None:
        """Give up the oldest requests in memory when there are too many."""
        given_up: list[Batch] = []
        with self._moving:
            while self._bytes > self._limits.memory_bytes and self._batches:
                with self._lock:
                    given_up += self._pop_together(1)
        for oldest in given_up:
            self.drop(oldest.spans, "memory_full")
            self._finish(oldest)

    def _pop_together(self, spans: int) -> list[Batch]:
        """Take the oldest request in memory, and those after it as long as all of them make one of `spans` spans.

        One that has been sent has the same bytes when it is sent again; one that was too large is not made larger.
        """
        popped: list[Batch] = []
        size = 0
        while self._batches:
            batch = self._batches[0]
            spans -= batch.spans
            size += len(batch.data)
            if popped and (spans < 0 or size > self._limits.batch_bytes or batch.alone or popped[0].alone):
                break
            popped.append(self._batches.popleft())
            self._bytes -= len(batch.data)
        return popped

    def _spill(self) -> None:
        """Move requests from memory to disk, oldest first, as long as the disk takes them."""
        with self._moving:
            while self._batches and not self.taken_over and self._put_oldest():
                pass

    def _put_oldest(self) -> bool:
        """Move the oldest requests in memory to one row, as many as make one request; whether that was done."""
        if self.spool is None:
            return False
        with self._lock:
            batch = _join(self._pop_together(self._limits.queue_spans))
        done = self._put(batch, held=False)
        if not done:
            self._back(batch)
        return done

    def _put(self, batch: Batch, *, held: bool) -> bool:
        """Put a request on disk, in one row; whether that was done."""
        if self.spool is None:
            return False
        try:
            row = self.spool.put(batch.data, batch.spans, replacing=batch.rows, alone=batch.alone, held=held)
        except OSError as error:
            self.disk_failed(error)
            return False
        batch.rows, batch.kept = (row,), True
        self.spooled += batch.spans
        return True

    def disk_failed(self, error: Exception) -> None:
        """Say that the disk does not take records, now and then."""
        if self._clock.now() - self._disk_said_at > _DISK_AGAIN_S:
            self._disk_said_at = self._clock.now()
            log.warning(
                "genledger: destination %s: cannot keep records on disk (%s: %s); they stay in memory",
                self.name, type(error).__name__, error,
            )  # fmt: skip

    # The end

    def take_over(self) -> bool:
        """Let the calling thread have what is left; the delivery's own may be stuck. Whether it is the first to."""
        with self._lock:
            already, self.taken_over = self.taken_over, True
        return not already

    def save(self) -> bool:
        """Put everything left on disk, by whoever has taken over; whether the disk took it."""
        with self._moving:
            before = self.spooled
            batch, self._in_flight = self._in_flight, None
            if batch is not None:
                self._cut_off = batch.kept
                self._back(batch)
            while self._batches and self._put_oldest():
                pass
            self._cut_off = self._cut_off or self.spooled > before
            return not self._batches

    def abandon(self, unpacked: int) -> None:
        """Count what could not be saved, and `unpacked` spans besides, as lost, and say so; and what could be."""
        if self._cut_off and self._said is None and self.spool is not None:
            log.warning(
                "genledger: destination %s (%s): no answer before exit; %d records are on disk for the next process",
                self.name, self.sender.endpoint, self.spool.pending().spans,
            )  # fmt: skip
        lost = unpacked + sum(batch.spans for batch in self._batches if not batch.rows)
        self._batches.clear()
        self._bytes = 0
        if lost:
            self.drop(lost, "exit")
            log.warning(
                "genledger: destination %s (%s): %d records were lost at exit: neither delivered nor stored",
                self.name, self.sender.endpoint, lost,
            )  # fmt: skip


def _join(parts: Sequence[Batch]) -> Batch:
    """Make one request of several: serialized messages of one type, one after the other, are one with all parts."""
    if len(parts) == 1:
        return parts[0]
    return Batch(
        b"".join(part.data for part in parts),
        sum(part.spans for part in parts),
        [row for part in parts for row in part.rows],
    )
