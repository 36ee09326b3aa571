"""The way from an ended span to one receiver: a queue, and a thread that makes requests of it and sends them."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import ReadableSpan

from genledger.destinations.delivery import otlp_request
from genledger.destinations.delivery.attempt import MEANWHILE_S
from genledger.destinations.delivery.delivery_stats import Limits, Stats
from genledger.destinations.delivery.http_exporter import Sender
from genledger.destinations.delivery.retry_queue import Batch, RetryQueue
from genledger.destinations.delivery.suppress import suppressed
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock
from genledger.destinations.selection.span_processor import FinishedSpan
from genledger.shared.after_fork import run_after_fork
from genledger.shared.loggers import logger_of
from genledger.shared.worker import Worker

if TYPE_CHECKING:
    from genledger.destinations.delivery.spool import Spool
    from genledger.destinations.selection.sampling import TraceSampling

log = logger_of("genledger")

_PART_SPANS = 64
_LEAVING_S = 1.0

DISK_S = 2.0
"""Seconds that the disk has at the end, at least, for what the receiver did not take in its time."""


class ExportWorker:
    """Delivers ended spans to one receiver from a thread of its own.

    `offer` is all that the application's threads ever run: it appends to a queue. Everything else happens in
    the delivery's thread, one round after the other: take what is queued, make requests of it, send them.
    A receiver's trouble concerns nobody else: there is one delivery for each.

    Args:
        name: What logs and metrics call the receiver.
        sender: Makes the attempts.
        translate: Gives a span the receiver's vocabulary. Called in the delivery's thread, or, if that is
            `durable`, where the span ends.
        limits: Bounds.
        spool: Where requests are kept that cannot be delivered; without one they stay in memory.
        durable: Whether spans are in the spool from the moment they end until they are delivered.
        sampling: Decides which spans go on.
        clock: The time.
        threaded: Whether to run a thread; without one, the owner calls `step`.
    """

    is_fed = False
    """Whether it is behind another's queue, whose owner hands the last spans over and shuts it down: at exit that may
    come after our turn."""

    def __init__(
        self,
        name: str,
        sender: Sender,
        translate: Callable[[FinishedSpan], ReadableSpan],
        *,
        limits: Limits | None = None,
        spool: Spool | None = None,
        durable: bool = False,
        sampling: TraceSampling | None = None,
        clock: Clock = SYSTEM_CLOCK,
        threaded: bool = True,
    ) -> None:
        self.name = name
        self.sender = sender
        self.limits = limits or Limits()
        self._translate = translate
        self.spool = spool
        self._durable = durable
        self._sampling = sampling
        self._clock = clock
        self._threaded = threaded
        self._outbox = RetryQueue(name, sender, self.limits, spool, clock)
        self._worker = Worker(
            f"genledger-{name}",
            self._work,
            delay_s=self.limits.delay_s,
            within=suppressed,
            at_exit=_at_exit,
            in_caller=False,  # a receiver may take its time; the shutdown, which has a deadline, sends what is queued
        )
        self._start_empty()
        run_after_fork(self._after_fork)
        _alive.add(self)
        if threaded and spool is not None and spool.exists():
            self._worker.hurry()

    def _start_empty(self) -> None:
        self._queue: deque[FinishedSpan] = deque()
        self._accepted = 0
        self._collecting = threading.Lock()
        self._collected_at = float("-inf")
        self._ended = threading.Event()
        self._closing_at: float | None = None
        self._retired = False
        self._hurry = False
        self._turns = 0

    # What the application's threads run

    def offer(self, item: FinishedSpan) -> None:
        """Take a span for delivery, or count it as dropped. Never blocks on the receiver, never raises."""
        queue = self._queue
        if self._closing_at is not None:
            self._outbox.drop(item.goes, "shutdown")
            return
        if len(queue) >= self.limits.queue_spans:
            self._outbox.drop(item.goes, "queue_full")
            return
        if self._durable and self.spool is not None and item.goes:
            self._write_ahead(self.spool, item)
        queue.append(item)
        if self._threaded:
            if len(queue) % self.limits.batch_spans:
                self._worker.rouse()
            else:
                self._worker.hurry()

    def _write_ahead(self, spool: Spool, item: FinishedSpan) -> None:
        try:
            item.ready = self._translate(item)
            item.row = spool.append(otlp_request.encode([item.ready]))
        except Exception as error:
            # The span still goes the ordinary way.
            self._outbox.disk_failed(error)

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver everything accepted so far, the spool included; wait at most `timeout` seconds for it.

        Returns:
            Whether nothing is left. What is left stays where it is and is tried again.
        """
        return self.begin_flush() and self.finish_flush(self._clock.now() + timeout)

    def begin_flush(self) -> bool:
        """Let the thread deliver at once; whether there is a thread, or nothing to do."""
        if self.is_idle():
            return True
        if not self._worker.start():
            return False
        self._hurry = True
        self._worker.hurry()
        return True

    def finish_flush(self, deadline: float) -> bool:
        """Wait until `deadline` (of the clock) for what `begin_flush` began; whether nothing is left."""
        # In several rounds: another process may be at what one round cannot get.
        left = deadline - self._clock.now() if self._worker.has_thread else 0.0
        return self._worker.flush(self.is_idle, left)

    def begin_shutdown(self, deadline: float) -> None:
        """Take no more spans, and let the thread deliver what there is until `deadline` (of the clock)."""
        if self._closing_at is None:
            self._closing_at = deadline
            if self._worker.has_thread:
                self._worker.stop()

    def finish_shutdown(self) -> bool:
        """Wait for the deadline given to `begin_shutdown` at most; spool what is left, which may take `DISK_S` longer.

        Returns:
            Whether everything was delivered.
        """
        closing_at = self._closing_at
        assert closing_at is not None, "begin_shutdown comes first"
        if not self._worker.has_thread:
            self._worker.stop()
        # The thread may be waiting for a receiver that does not answer. What could not be delivered needs time, too, to
        # get to the disk.
        remaining = closing_at - self._clock.now()
        self._worker.join(remaining - min(DISK_S, 0.25 * remaining))
        self._end(closing_at)
        self._worker.join(_LEAVING_S)
        return self.is_idle() and not self._outbox.dropped["exit"]

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds, spool the rest, and stop.

        The disk gets its time even where `timeout` leaves the receiver none.
        """
        self.begin_shutdown(self._clock.now() + (self.limits.exit_s if timeout is None else timeout))
        return self.finish_shutdown()

    def retire(self) -> None:
        """Shut down without anybody waiting for it."""
        self._retired = True
        self.begin_shutdown(self._clock.now() + self.limits.exit_s)
        if not self._worker.has_thread:
            self.finish_shutdown()

    def is_idle(self) -> bool:
        """Return whether nothing waits to be delivered."""
        # What is on its way from one place to the next is in none of them for a moment, so the places count only
        # when no round was under way while they were looked at: the number is odd during a round.
        before = self._turns
        held = self._sampling.held() if self._sampling is not None else 0
        empty = not self._queue and not held and self._outbox.is_empty()
        return empty and before % 2 == 0 and before == self._turns

    def has_ended(self) -> bool:
        """Return whether the worker was shut down and its thread has ended."""
        return self._closing_at is not None and self._worker.join(0.0)

    def stats(self) -> Stats:
        """Return the delivery counters so far."""
        outbox = self._outbox
        dropped = Counter(outbox.dropped)
        requests = size = 0
        if self.spool is not None:
            requests, _, size = self.spool.pending()
            dropped += self.spool.lost
        return Stats(
            accepted=self._accepted + len(self._queue),
            sent=outbox.sent,
            retried=outbox.retried,
            spooled=outbox.spooled,
            dropped=dict(dropped),
            waiting=len(self._queue) + outbox.waiting() + (self._sampling.held() if self._sampling is not None else 0),
            spool_requests=requests,
            spool_bytes=size,
            units=self._sampling.units if self._sampling is not None else 0,
            problem=outbox.problem,
        )

    # What the delivery's thread runs

    def step(self) -> float:
        """One round. Returns the seconds until the next one is due."""
        self._turns += 1
        try:
            hurry, self._hurry = self._hurry, False
            if hurry or self._closing_at is not None:
                self._outbox.hurry()
            self._collect(everything=hurry or self._closing_at is not None)
            self._outbox.send(lambda: self._closing_at, self._between, self._meanwhile)
        finally:
            self._turns += 1
        if len(self._queue) >= self.limits.batch_spans:
            return 0.0
        pause = self._outbox.due_in
        # During a pause, what is queued still gets to the disk.
        return min(pause, MEANWHILE_S) if pause > 0.0 else self.limits.delay_s

    def _work(self) -> float | None:
        last = self._closing_at is not None
        try:
            pause = self.step()
        finally:
            if last and self._retired:
                self._end(self._clock.now())
        return None if last else pause

    def _between(self) -> None:
        """After a request, when others follow: the queue must not fill up, and what is in it must not get old."""
        due = self._clock.now() - self._collected_at >= MEANWHILE_S
        if due or len(self._queue) >= self.limits.batch_spans:
            self._collect()

    def _meanwhile(self) -> None:
        """While a request waits for its answer: what there is in memory must not depend on the answer."""
        try:
            self._collect()
            self._outbox.keep()
        except Exception:
            log.exception("genledger: destination %s: internal error; delivery continues", self.name)

    def _collect(self, *, everything: bool = False) -> None:
        """Make requests of what is queued; of what sampling holds back, too, when `everything` is wanted."""
        with self._collecting:
            self._collected_at = self._clock.now()
            # Threads that record faster than this must keep it neither from sending nor from writing to disk.
            until = self._collected_at + MEANWHILE_S if self._closing_at is None else self._closing_at
            while self._queue and not self._outbox.taken_over and self._clock.now() <= until:
                self._take()
            self._take_held(everything=everything)

    def _take(self) -> None:
        """Make a part of a request of what is queued: a small one, as time may be up after it."""
        items = self._pop(_PART_SPANS)
        self._accepted += sum(item.goes for item in items)
        self._pack(self._sampling.take(items, self._clock.now()) if self._sampling is not None else items)

    def _take_held(self, *, everything: bool) -> None:
        sampling = self._sampling
        if sampling is None:
            return
        self._pack(sampling.release() if everything else sampling.take((), self._clock.now()))
        discarded = sampling.discarded()
        if discarded:
            self._outbox.drop(len(discarded), "sampled")
            self._settle(discarded)

    def _pop(self, most: int) -> list[FinishedSpan]:
        items: list[FinishedSpan] = []
        try:
            while len(items) < most:
                items.append(self._queue.popleft())
        except IndexError:
            pass
        return items

    def _pack(self, items: Sequence[FinishedSpan]) -> None:
        for start in range(0, len(items), self.limits.batch_spans):
            part = items[start : start + self.limits.batch_spans]
            try:
                self._pack_part(part)
            except Exception:
                # One odd span must not take its neighbours with it.
                if len(part) > 1:
                    for item in part:
                        self._pack([item])
                else:
                    self._outbox.drop(1, "unencodable")
                    self._settle(part)
                    log.debug("genledger: destination %s: a span cannot be encoded", self.name, exc_info=True)

    def _pack_part(self, items: Sequence[FinishedSpan]) -> None:
        spans = [item.ready or self._translate(item) for item in items]
        start = 0
        for data, count in list(otlp_request.pack(spans, self.limits.batch_bytes)):
            self._outbox.add(Batch(data, count, _rows(items[start : start + count])))
            start += count

    def _settle(self, items: Sequence[FinishedSpan]) -> None:
        """These go nowhere."""
        if self.spool is not None:
            self.spool.done(_rows(items))

    # Beginning and end

    def _end(self, deadline: float) -> None:
        """Spool what is left, in the thread that shuts down."""
        if not self._outbox.take_over():
            self._ended.wait(max(0.0, deadline - self._clock.now()) + DISK_S + _LEAVING_S)
            return
        try:
            self._save(deadline)
        except Exception:
            log.exception("genledger: destination %s: unexpected fault at the end", self.name)
        unpacked = [item for item in self._pop(len(self._queue)) if item.goes]
        self._accepted += len(unpacked)
        self._outbox.abandon(sum(item.row is None for item in unpacked))
        self.sender.close()
        if self.spool is not None:
            self.spool.close()
        self._ended.set()

    def _save(self, deadline: float) -> None:
        """Pack what is left and put it on disk, by turns: packing takes the time that writing needs."""
        with self._collecting:
            deadline = max(deadline, self._clock.now() + DISK_S)
            self._take_held(everything=True)
            while True:
                until = (self._clock.now() + deadline) / 2
                while self._queue and self._clock.now() < until:
                    self._take()
                if not self._outbox.save() or not self._queue or self._clock.now() > deadline:
                    return

    def _after_fork(self) -> None:
        """In a forked child: nothing of the parent's is ours to send, and its threads are not here."""
        self._start_empty()
        self._outbox.start_empty()
        self.sender.forget()
        if self.spool is not None:
            self.spool.forget()
        if self._sampling is not None:
            self._sampling.clear()


def _rows(items: Iterable[FinishedSpan]) -> list[int]:
    return [item.row for item in items if item.row is not None]


_alive: weakref.WeakSet[ExportWorker] = weakref.WeakSet()


def begin_together(deliveries: Iterable[ExportWorker], timeout: float) -> None:
    """Begin to shut several deliveries down, all within `timeout` seconds from now."""
    for delivery in deliveries:
        delivery.begin_shutdown(delivery._clock.now() + timeout)


def shutdown_together(deliveries: Iterable[ExportWorker], timeout: float) -> bool:
    """Shut several deliveries down at once, all within `timeout` seconds.

    Returns:
        Whether all of them delivered everything.
    """
    closing = list(deliveries)
    begin_together(closing, timeout)
    finished = [delivery.finish_shutdown() for delivery in closing]
    return all(finished)


def _at_exit() -> None:
    running = [delivery for delivery in _alive if delivery._threaded]
    fed = [delivery for delivery in running if delivery.is_fed]
    for delivery in fed:
        delivery.begin_flush()
    ending = [delivery for delivery in running if not delivery.is_fed]
    shutdown_together(ending, max((delivery.limits.exit_s for delivery in ending), default=0.0))
    for delivery in fed:
        delivery.finish_flush(delivery._clock.now() + _LEAVING_S)
