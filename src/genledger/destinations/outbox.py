"""Requests on their way to one receiver: sent, tried again, split, kept on disk, or given up."""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from genledger.logs import logger_of

from . import batches
from .clock import Clock
from .limits import Limits
from .sender import Answer, Sender
from .spool import Kept, Spool

log = logger_of("genledger")

FIRST_PAUSE_S = 1.0
"""Upper bound of the pause after a first failure; it doubles with every further one."""

LONGEST_PAUSE_S = 60.0
"""Upper bound of any pause that the receiver did not ask for itself."""


_DISK_AGAIN_S = 3600.0


class Receipt:
    """Calls `settled` once all requests that some spans were split into are safe or given up."""

    __slots__ = ("_parts", "_settled")

    def __init__(self, settled: Callable[[], None], parts: int = 1) -> None:
        self._settled = settled
        self._parts = parts

    def split(self) -> None:
        """One request has become two."""
        self._parts += 1

    def settle(self) -> None:
        """One request needs no keeping any more."""
        self._parts -= 1
        if self._parts == 0:
            self._settled()


@dataclass(slots=True)
class Batch:
    """One request. `kept` says that it is from the spool, and still there."""

    data: bytes
    spans: int
    receipt: Receipt
    kept: Kept | None = None


class Outbox:
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
        self._taken_over = False
        self._failures = 0
        self._next_attempt = float("-inf")
        self._asked_to_wait = False
        self._refused = False
        self._disk_said_at = float("-inf")

    @property
    def failing(self) -> bool:
        """Whether the receiver did not answer as it should last time."""
        return self._failures > 0

    @property
    def due_in(self) -> float:
        """Seconds until the next attempt."""
        return max(0.0, self._next_attempt - self._clock.now())

    def is_empty(self) -> bool:
        """Whether nothing waits, in memory or on disk. From any thread."""
        spooled = self.spool is not None and self.spool.pending()[0] > 0
        return not self._batches and self._in_flight is None and not spooled

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

    def add(self, made: list[tuple[bytes, int]], receipt: Receipt) -> None:
        """Take serialized requests, each with its spans, that share a receipt."""
        with self._lock:
            for data, spans in made:
                self._batches.append(Batch(data, spans, receipt))
                self._bytes += len(data)

    def send(self, closing_at: float | None, between: Callable[[], None]) -> None:
        """Send until nothing is left, the receiver stops taking it, or, when closing, time is up.

        `between` is called after each request: the queue must not fill up meanwhile.
        """
        while not self._taken_over and self._clock.now() >= self._next_attempt:
            timeout = self._limits.timeout_s
            if closing_at is not None:
                timeout = min(timeout, 0.75 * (closing_at - self._clock.now()))
                if timeout <= 0:
                    break
            batch = self._next(closing=closing_at is not None)
            if batch is None:
                break
            answer = self.sender.send(batch.data, timeout)
            with self._lock:
                self._in_flight = None
                if self._taken_over:
                    return
            self._settle(batch, answer)
            between()
        if self.failing or self._bytes > self._limits.memory_bytes:
            self._spill()
        self._bound()
        if self.spool is not None and self.failing:
            self.spool.expire()

    def _next(self, *, closing: bool) -> Batch | None:
        with self._lock:
            if self._taken_over:
                return None
            if self._batches:
                self._in_flight = batch = self._batches.popleft()
                self._bytes -= len(batch.data)
                return batch
        if self.spool is None or self._refused or closing:
            return None
        kept = self.spool.claim()
        if kept is not None:
            self._in_flight = Batch(kept.data, kept.spans, Receipt(_nothing), kept)
        return self._in_flight

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
            self._keep(batch)
        elif answer.verdict == "too_large":
            self._make_smaller(batch, answer)
        else:
            self._refuse(batch, answer)

    def _recovered(self) -> None:
        self.problem = None
        if self._failures or self._refused:
            self._said = None
            log.warning("genledger: destination %s (%s): takes records again", self.name, self.sender.endpoint)
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
        halves = batches.halve(batch.data)
        if halves is not None:
            batch.receipt.split()
            parts = [Batch(data, spans, batch.receipt) for data, spans in halves]
        else:
            trimmed = batches.trim(batch.data, len(batch.data) // 2)
            if trimmed is None:
                self._refuse(batch, answer)
                return
            parts = [Batch(trimmed, 1, batch.receipt)]
        with self._lock:
            self._batches.extendleft(reversed(parts))
            self._bytes += sum(len(part.data) for part in parts)
        if batch.kept is not None and self.spool is not None:
            self.spool.done(batch.kept)

    def _refuse(self, batch: Batch, answer: Answer) -> None:
        """The receiver will never take this request."""
        self._failures = 0
        self._complain(answer, logging.ERROR, "this is final: such records are dropped and counted")
        about_us = answer.verdict == "refused" and answer.reason not in ("http_400", "grpc_invalid_argument")
        if about_us:
            self._refused = True
        if about_us and batch.kept is not None and self.spool is not None:
            # It is the sender that is refused, not the data: what a former process left waits until the
            # settings are right again.
            self.spool.release(batch.kept)
            return
        self.drop(batch.spans, answer.reason)
        self._finish(batch)

    def _finish(self, batch: Batch) -> None:
        batch.receipt.settle()
        if batch.kept is not None and self.spool is not None:
            self.spool.done(batch.kept)

    def _complain(self, answer: Answer, level: int, then: str) -> None:
        """Say once what is wrong; again only after it was right, or when something else is wrong."""
        self.problem = problem = answer.detail or answer.reason
        if self._said != answer.reason:
            self._said = answer.reason
            log.log(level, "genledger: destination %s (%s): %s; %s", self.name, self.sender.endpoint, problem, then)

    # Keeping what cannot be sent

    def _keep(self, batch: Batch) -> None:
        if batch.kept is not None and self.spool is not None:
            self.spool.release(batch.kept)
        elif not self._put(batch):
            self._back(batch)

    def _put(self, batch: Batch) -> bool:
        """Put a request on disk; whether that was done."""
        if self.spool is None:
            return False
        try:
            self.spool.put(batch.data, batch.spans)
        except OSError as error:
            self.disk_failed(error)
            return False
        self.spooled += batch.spans
        batch.receipt.settle()
        return True

    def _back(self, batch: Batch) -> None:
        """Put a request back in memory; the oldest go when that is too much."""
        with self._lock:
            self._batches.appendleft(batch)
            self._bytes += len(batch.data)
        self._bound()

    def _bound(self) -> None:
        given_up: list[Batch] = []
        with self._lock:
            while self._bytes > self._limits.memory_bytes and self._batches:
                oldest = self._batches.popleft()
                self._bytes -= len(oldest.data)
                given_up.append(oldest)
        for oldest in given_up:
            self.drop(oldest.spans, "memory_full")
            oldest.receipt.settle()

    def _spill(self) -> None:
        """Move requests from memory to disk, oldest first, as long as the disk takes them."""
        while True:
            with self._lock:
                if not self._batches or self._taken_over:
                    return
                self._in_flight = batch = self._batches.popleft()
                self._bytes -= len(batch.data)
            kept = self._put(batch)
            with self._lock:
                self._in_flight = None
            if not kept:
                self._back(batch)
                return

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
            already, self._taken_over = self._taken_over, True
        return not already

    def save(self, deadline: float, unpacked: int, *, journaled: bool) -> None:
        """Put everything left on disk until `deadline`; the rest, and `unpacked` spans never packed, are lost.

        Unless they are `journaled`: then the next process finds them.
        """
        with self._lock:
            # A request that came from the spool is still there.
            left = [self._in_flight] if self._in_flight is not None and self._in_flight.kept is None else []
            left += self._batches
            self._batches.clear()
            self._bytes = 0
            self._in_flight = None
        lost = unpacked
        for batch in left:
            if self._clock.now() > deadline or not self._put(batch):
                lost += batch.spans
        if lost and not journaled:
            self.drop(lost, "exit")
            log.warning(
                "genledger: destination %s (%s): %d records were neither delivered nor kept at exit",
                self.name, self.sender.endpoint, lost,
            )  # fmt: skip


def _nothing() -> None:
    pass
