"""The way from an ended span to one receiver: queue, thread, batches, retries, spool."""

from __future__ import annotations

import atexit
import logging
import os
import random
import sys
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan

from . import batches
from .clock import SYSTEM_CLOCK, Clock
from .intake import Ended
from .journal import Journal, Ticket
from .sender import Answer, Sender
from .spool import Kept, Spool

log = logging.getLogger("genledger")

FIRST_PAUSE_S = 1.0
"""Upper bound of the pause after a first failure; it doubles with every further one."""

LONGEST_PAUSE_S = 60.0
"""Upper bound of any pause that the receiver did not ask for itself."""

_MEMORY_BYTES = 32 * 1024 * 1024
_COLLECT_S = 10.0


@dataclass(slots=True, frozen=True)
class Limits:
    """The bounds of one delivery.

    Attributes:
        queue_spans: Ended spans waiting for the thread; one more is dropped and counted
            (`OTEL_BSP_MAX_QUEUE_SIZE`).
        batch_spans: Spans in one request (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
        batch_bytes: Bytes of one request before compression. Langfuse Cloud takes 5 MB.
        delay_s: Seconds that a span waits for others to share a request (`OTEL_BSP_SCHEDULE_DELAY`).
        timeout_s: Seconds of silence after which an attempt is given up.
        exit_s: Seconds that shutting down may take when the caller does not say.
    """

    queue_spans: int = 10_000
    batch_spans: int = 512
    batch_bytes: int = 4_500_000
    delay_s: float = 1.0
    timeout_s: float = 10.0
    exit_s: float = 5.0


@dataclass(slots=True, frozen=True)
class Stats:
    """What became of the spans of one destination, in spans.

    `accepted` = `sent` + the sum of `dropped` + those still waiting, here or in the spool; spans that a
    former process left in the spool are counted in `sent` only. `retried` counts a span once for every
    attempt that failed. `units` are the units that Langfuse bills (traces, observations, scores).
    """

    accepted: int = 0
    sent: int = 0
    retried: int = 0
    spooled: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    spool_files: int = 0
    spool_bytes: int = 0
    units: int = 0
    problem: str | None = None


class Sampling(Protocol):
    """Decides which of the spans go on; may hold them back until their trace has ended."""

    units: int

    def take(self, items: Sequence[Ended], now: float) -> list[Ended]:
        """The spans that may go on now."""
        ...

    def release(self) -> list[Ended]:
        """Decide now about everything held back."""
        ...

    def held(self) -> int:
        """Spans held back."""
        ...

    def discarded(self) -> list[Ended]:
        """The spans decided against since the last call."""
        ...

    def clear(self) -> None:
        """Forget everything held back: it belongs to the parent of this process."""
        ...


class _Receipt:
    """Tells the journal that its records are safe, once all requests they were split into are."""

    __slots__ = ("_journal", "_parts", "_tickets")

    def __init__(self, journal: Journal | None, tickets: list[Ticket]) -> None:
        self._journal = journal
        self._tickets = tickets
        self._parts = 1

    def split(self) -> None:
        self._parts += 1

    def settle(self) -> None:
        self._parts -= 1
        if self._parts == 0 and self._journal is not None and self._tickets:
            self._journal.settle(self._tickets)


@dataclass(slots=True)
class _Batch:
    data: bytes
    spans: int
    receipt: _Receipt
    kept: Kept | None = None


class Delivery:
    """Delivers ended spans to one receiver from a thread of its own.

    `offer` is all that the application's threads ever run: it appends to a queue. Everything else happens in
    the delivery's thread, one round after the other: take what is queued, make requests of it, send them.
    While the receiver does not take them, requests go to the spool, and one attempt is made each time the
    pause is over. A receiver's pause concerns nobody else: there is one delivery per receiver.

    Args:
        name: What logs and metrics call the receiver.
        sender: Makes the attempts.
        translate: Gives a span the receiver's vocabulary. Called in the delivery's thread, except that with
            a journal it is called where the span ends.
        limits: Bounds.
        spool: Where requests are kept that cannot be delivered; without one they stay in memory.
        journal: Where spans are kept from the moment they end until they are delivered or spooled.
        sampling: Decides which spans go on.
        clock: The time.
        threaded: Whether to run a thread; without one, the owner calls `step`.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        translate: Callable[[Ended], ReadableSpan],
        *,
        limits: Limits | None = None,
        spool: Spool | None = None,
        journal: Journal | None = None,
        sampling: Sampling | None = None,
        clock: Clock = SYSTEM_CLOCK,
        threaded: bool = True,
    ) -> None:
        self.name = name
        self.sender = sender
        self.limits = limits or Limits()
        self._translate = translate
        self._spool = spool
        self._journal = journal
        self._sampling = sampling
        self._clock = clock
        self._threaded = threaded
        self._start_empty()
        _alive.add(self)
        if threaded and spool is not None and (spool.pending()[0] or (journal and journal.leftovers())):
            self._start_thread()

    def _start_empty(self) -> None:
        self._queue: deque[Ended] = deque()
        self._outbox: deque[_Batch] = deque()
        self._outbox_bytes = 0
        self._in_flight: _Batch | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._rounds = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closing_at: float | None = None
        self._taken_over = False
        self._hurry = False
        self._failures = 0
        self._next_attempt = float("-inf")
        self._asked_to_wait = False
        self._refused = False
        self._problem: str | None = None
        self._disk_problem = False
        self._accepted = 0
        self._sent = 0
        self._retried = 0
        self._spooled = 0
        self._dropped: Counter[str] = Counter()

    # What the application's threads run

    def offer(self, item: Ended) -> None:
        """Take a span for delivery, or count it as dropped. Never blocks on the receiver, never raises."""
        queue = self._queue
        if self._closing_at is not None:
            self._drop(1, "shutdown")
            return
        if len(queue) >= self.limits.queue_spans:
            self._drop(1, "queue_full")
            return
        if self._journal is not None:
            self._write_ahead(item)
        queue.append(item)
        if self._thread is None and self._threaded:
            self._start_thread()
        if len(queue) >= self.limits.batch_spans and not self._wake.is_set():
            self._wake.set()

    def _write_ahead(self, item: Ended) -> None:
        assert self._journal is not None
        try:
            item.ready = self._translate(item)
            item.ticket = self._journal.append(batches.encode([item.ready]))
        except Exception as error:
            self._disk_failed(error)

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver everything accepted so far, the spool included; wait at most `timeout` seconds for it.

        Returns:
            Whether nothing is left. What is left stays where it is and is tried again.
        """
        deadline = self._clock.now() + timeout
        if self._thread is None:
            if self._is_empty():
                return True
            if not self._start_thread():
                return False
        self._hurry = True
        self._wake.set()
        with self._rounds:
            while not self._is_empty():
                remaining = deadline - self._clock.now()
                if remaining <= 0 or self._thread is None:
                    return False
                self._rounds.wait(min(remaining, 0.5))
        return True

    def begin_shutdown(self, deadline: float) -> None:
        """Take no more spans, and let the thread deliver what there is until `deadline` (of the clock)."""
        if self._closing_at is None:
            self._closing_at = deadline
            self._wake.set()

    def finish_shutdown(self) -> bool:
        """Wait for the deadline given to `begin_shutdown` at most; spool what is left.

        Returns:
            Whether everything was delivered.
        """
        closing_at = self._closing_at
        assert closing_at is not None, "begin_shutdown comes first"
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            # A part of the time is for writing to disk what the thread could not deliver.
            remaining = closing_at - self._clock.now()
            thread.join(max(0.0, remaining - min(1.0, 0.25 * remaining)))
        with self._lock:
            already = self._taken_over
            self._taken_over = True
        if not already:
            if thread is None:
                self._collect(everything=True)
                with suppress_instrumentation(), suppress_http_instrumentation():
                    self._deliver()
            self._save_leftovers(closing_at)
            self.sender.close()
            if self._journal is not None:
                self._journal.close()
        return self._is_empty()

    def shutdown(self, timeout: float | None = None) -> bool:
        """Deliver what can be delivered within `timeout` seconds, spool the rest, and stop."""
        self.begin_shutdown(self._clock.now() + (self.limits.exit_s if timeout is None else timeout))
        return self.finish_shutdown()

    def stats(self) -> Stats:
        """What became of the spans so far."""
        files, size = self._spool.pending() if self._spool is not None else (0, 0)
        dropped = self._dropped + (self._spool.lost if self._spool is not None else Counter())
        if self._journal is not None:
            dropped += self._journal.lost
        return Stats(
            accepted=self._accepted + len(self._queue),
            sent=self._sent,
            retried=self._retried,
            spooled=self._spooled,
            dropped=dict(dropped),
            waiting=len(self._queue) + sum(batch.spans for batch in tuple(self._outbox)),
            spool_files=files,
            spool_bytes=size,
            units=self._sampling.units if self._sampling is not None else 0,
            problem=self._problem,
        )

    # What the delivery's thread runs

    def step(self) -> float:
        """One round. Returns the seconds until the next one is due."""
        hurry, self._hurry = self._hurry, False
        if hurry and not self._asked_to_wait:
            self._next_attempt = float("-inf")
        self._collect(everything=hurry or self._closing_at is not None)
        self._deliver()
        if self._journal is not None and self._spool is not None:
            self._rescue()
        if self._failures and self._spool is not None:
            self._spool.expire()
        if not self._failures:
            return self.limits.delay_s
        pause = max(0.0, self._next_attempt - self._clock.now())
        return min(pause, max(_COLLECT_S, self.limits.delay_s))

    def _run(self) -> None:
        with suppress_instrumentation(), suppress_http_instrumentation():
            wait_s = self.limits.delay_s
            while self._closing_at is None:
                self._wake.wait(wait_s)
                self._wake.clear()
                wait_s = self._guarded_step()
            self._guarded_step()

    def _guarded_step(self) -> float:
        try:
            return self.step()
        except Exception:
            log.exception("genledger: destination %s: unexpected fault; it goes on", self.name)
            return self.limits.delay_s
        finally:
            with self._rounds:
                self._rounds.notify_all()

    def _collect(self, *, everything: bool = False) -> None:
        """Make requests of what is queued; of what sampling holds back, too, when `everything` is wanted."""
        while self._queue:
            items = self._pop(self.limits.batch_spans)
            self._accepted += len(items)
            if self._sampling is not None:
                items = self._sampling.take(items, self._clock.now())
            self._pack(items)
        if self._sampling is not None:
            if everything:
                self._pack(self._sampling.release())
            self._discard(self._sampling.discarded())

    def _pop(self, most: int) -> list[Ended]:
        items: list[Ended] = []
        try:
            while len(items) < most:
                items.append(self._queue.popleft())
        except IndexError:
            pass
        return items

    def _pack(self, items: Sequence[Ended]) -> None:
        for start in range(0, len(items), self.limits.batch_spans):
            part = items[start : start + self.limits.batch_spans]
            try:
                self._pack_part(part)
            except Exception as error:
                if len(part) > 1:
                    for item in part:
                        self._pack([item])
                else:
                    self._drop(1, "unencodable")
                    self._settle_tickets(part)
                    log.debug("genledger: destination %s: span not encoded: %r", self.name, error)

    def _pack_part(self, items: Sequence[Ended]) -> None:
        spans = [item.ready or self._translate(item) for item in items]
        made = list(batches.pack(spans, self.limits.batch_bytes))
        receipt = _Receipt(self._journal, [item.ticket for item in items if item.ticket is not None])
        for _ in made[1:]:
            receipt.split()
        with self._lock:
            for data, count in made:
                self._outbox.append(_Batch(data, count, receipt))
                self._outbox_bytes += len(data)

    def _discard(self, items: Sequence[Ended]) -> None:
        if items:
            self._drop(len(items), "sampled")
            self._settle_tickets(items)

    def _settle_tickets(self, items: Iterable[Ended]) -> None:
        tickets = [item.ticket for item in items if item.ticket is not None]
        if self._journal is not None and tickets:
            self._journal.settle(tickets)

    def _deliver(self) -> None:
        """Send until nothing is left or the receiver stops taking it."""
        while not self._taken_over and self._clock.now() >= self._next_attempt:
            timeout = self.limits.timeout_s
            if self._closing_at is not None:
                remaining = 0.75 * (self._closing_at - self._clock.now())
                if remaining <= 0:
                    break
                timeout = min(timeout, remaining)
            batch = self._next_batch()
            if batch is None:
                break
            answer = self.sender.send(batch.data, timeout)
            with self._lock:
                self._in_flight = None
                if self._taken_over:
                    return
            self._settle(batch, answer)
            if len(self._queue) >= self.limits.batch_spans:
                self._collect()
        if self._failures or self._outbox_bytes > _MEMORY_BYTES:
            self._spill()

    def _next_batch(self) -> _Batch | None:
        with self._lock:
            if self._taken_over:
                return None
            if self._outbox:
                self._in_flight = batch = self._outbox.popleft()
                self._outbox_bytes -= len(batch.data)
                return batch
        if self._spool is None or self._refused or self._closing_at is not None:
            return None
        kept = self._spool.claim()
        if kept is None:
            return None
        self._in_flight = batch = _Batch(kept.data, kept.spans, _Receipt(None, []), kept)
        return batch

    def _settle(self, batch: _Batch, answer: Answer) -> None:
        if answer.verdict == "delivered":
            self._sent += batch.spans - answer.rejected
            if answer.rejected:
                self._drop(answer.rejected, "rejected")
                self._complain(answer, logging.WARNING)
            self._finish(batch)
            self._recovered(quiet=bool(answer.rejected))
        elif answer.verdict == "retry":
            self._retried += batch.spans
            self._failed(answer)
            self._keep(batch)
        elif answer.verdict == "too_large":
            self._make_smaller(batch, answer)
        else:
            self._refuse(batch, answer)

    def _make_smaller(self, batch: _Batch, answer: Answer) -> None:
        halves = batches.halve(batch.data)
        if halves is None:
            trimmed = batches.trim(batch.data, len(batch.data) // 2)
            if trimmed is None:
                self._refuse(batch, answer)
                return
            parts = [_Batch(trimmed, 1, batch.receipt)]
        else:
            batch.receipt.split()
            parts = [_Batch(data, spans, batch.receipt) for data, spans in halves]
        with self._lock:
            self._outbox.extendleft(reversed(parts))
            self._outbox_bytes += sum(len(part.data) for part in parts)
        if batch.kept is not None and self._spool is not None:
            self._spool.done(batch.kept)
            batch.kept = None

    def _refuse(self, batch: _Batch, answer: Answer) -> None:
        """The receiver will never take this request."""
        self._failures = 0
        self._complain(answer, logging.ERROR)
        if answer.reason not in ("http_400", "http_413") and batch.kept is not None and self._spool is not None:
            # What is refused is the sender, not the data: a former process's batches wait until the
            # settings are right again, or too old.
            self._refused = True
            self._spool.release(batch.kept)
            return
        self._drop(batch.spans, answer.reason)
        self._finish(batch)

    def _finish(self, batch: _Batch) -> None:
        batch.receipt.settle()
        if batch.kept is not None and self._spool is not None:
            self._spool.done(batch.kept)

    def _failed(self, answer: Answer) -> None:
        self._failures += 1
        self._asked_to_wait = answer.retry_after_s is not None
        pause = answer.retry_after_s
        if pause is None:
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))
            pause = random.uniform(0.0, longest)
        self._next_attempt = self._clock.now() + pause
        if self._failures == 1:
            self._complain(answer, logging.WARNING)

    def _complain(self, answer: Answer, level: int) -> None:
        """Say once what is wrong; again only after it was right, or when something else is wrong."""
        problem = answer.detail or answer.reason
        if self._problem is not None and self._problem.split(" ")[0] == problem.split(" ")[0]:
            return
        self._problem = problem
        then = {
            logging.WARNING: "records are kept and sent when it answers again" if self._failures else "not sent again",
            logging.ERROR: "this is final: such records are dropped and counted",
        }[level]
        log.log(level, "genledger: destination %s (%s): %s; %s", self.name, self.sender.endpoint, problem, then)

    def _recovered(self, *, quiet: bool) -> None:
        self._failures = 0
        self._next_attempt = float("-inf")
        self._refused = False
        if self._problem is not None and not quiet:
            self._problem = None
            log.warning("genledger: destination %s (%s): answers again", self.name, self.sender.endpoint)

    # Keeping what cannot be sent

    def _keep(self, batch: _Batch) -> None:
        """Put a batch aside for a later attempt: on disk if possible, in memory otherwise."""
        if self._spool is None:
            self._back(batch)
        elif batch.kept is not None:
            self._spool.release(batch.kept)
        elif self._put(batch):
            pass
        else:
            self._back(batch)

    def _put(self, batch: _Batch) -> bool:
        assert self._spool is not None
        try:
            self._spool.put(batch.data, batch.spans)
        except OSError as error:
            self._disk_failed(error)
            return False
        self._spooled += batch.spans
        batch.receipt.settle()
        self._disk_problem = False
        return True

    def _back(self, batch: _Batch) -> None:
        with self._lock:
            self._outbox.appendleft(batch)
            self._outbox_bytes += len(batch.data)
            dropped: list[_Batch] = []
            while self._outbox_bytes > _MEMORY_BYTES and self._outbox:
                oldest = self._outbox.popleft()
                self._outbox_bytes -= len(oldest.data)
                dropped.append(oldest)
        for oldest in dropped:
            self._drop(oldest.spans, "memory_full")
            oldest.receipt.settle()

    def _spill(self) -> None:
        """Move requests from memory to disk, oldest first, as long as the disk takes them."""
        while True:
            with self._lock:
                if not self._outbox or self._taken_over:
                    return
                batch = self._outbox.popleft()
                self._outbox_bytes -= len(batch.data)
                self._in_flight = batch
            kept = self._spool is not None and self._put(batch)
            with self._lock:
                self._in_flight = None
            if not kept:
                self._back(batch)
                return

    def _save_leftovers(self, deadline: float) -> None:
        """At the end: everything that is still in memory goes to disk, in the thread that shuts down."""
        try:
            self._collect(everything=True)
        except Exception:
            log.debug("genledger: destination %s: leftovers not encoded", self.name, exc_info=True)
        with self._lock:
            # A batch that came from the spool is still there.
            left = [self._in_flight] if self._in_flight is not None and self._in_flight.kept is None else []
            left += self._outbox
            self._outbox.clear()
            self._outbox_bytes = 0
            self._in_flight = None
        lost = 0
        for batch in left:
            if self._spool is None or self._clock.now() > deadline or not self._put(batch):
                lost += batch.spans
        for _ in self._pop(len(self._queue)):
            lost += 1
        if lost:
            self._drop(lost, "exit")
            log.warning(
                "genledger: destination %s (%s): %d records could not be delivered nor kept at exit",
                self.name, self.sender.endpoint, lost,
            )  # fmt: skip

    def _rescue(self) -> None:
        """Take over what processes that died left in their journals."""
        assert self._journal is not None
        assert self._spool is not None
        for data, spans, done in self._journal.rescued(self.limits.batch_bytes):
            try:
                self._spool.put(data, spans)
            except OSError as error:
                self._disk_failed(error)
                return
            done()

    def _disk_failed(self, error: Exception) -> None:
        if not self._disk_problem:
            self._disk_problem = True
            log.warning(
                "genledger: destination %s: cannot keep records on disk (%s: %s); they stay in memory",
                self.name, type(error).__name__, error,
            )  # fmt: skip

    def _drop(self, spans: int, reason: str) -> None:
        with self._lock:
            self._dropped[reason] += spans

    def _is_empty(self) -> bool:
        return (
            not self._queue
            and not self._outbox
            and self._in_flight is None
            and (self._sampling is None or not self._sampling.held())
            and (self._spool is None or not self._spool.pending()[0])
        )

    def _start_thread(self) -> bool:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"genledger-{self.name}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is shutting down; what is queued is sent by `shutdown`.
                    return False
                self._thread = thread
                _hook_exit()
        return True

    def _after_fork(self) -> None:
        """In a forked child: nothing of the parent's is ours to send, and its threads are not here."""
        self._start_empty()
        self.sender.forget()
        if self._spool is not None:
            self._spool.forget()
        if self._journal is not None:
            self._journal.forget()
        if self._sampling is not None:
            self._sampling.clear()


_alive: weakref.WeakSet[Delivery] = weakref.WeakSet()
_hooked_process: int | None = None


def shutdown_together(deliveries: Iterable[Delivery], timeout: float) -> bool:
    """Shut several deliveries down at once, all within `timeout` seconds.

    Returns:
        Whether all of them delivered everything.
    """
    closing = list(deliveries)
    for delivery in closing:
        delivery.begin_shutdown(delivery._clock.now() + timeout)
    finished = [delivery.finish_shutdown() for delivery in closing]
    return all(finished)


def _at_exit() -> None:
    running = [delivery for delivery in _alive if delivery._threaded]
    shutdown_together(running, max((delivery.limits.exit_s for delivery in running), default=0.0))


def _hook_exit() -> None:
    """See to it that this process shuts its deliveries down when it ends.

    The children of `multiprocessing` and of celery's `billiard` end without running `atexit` handlers; they
    run finalizers of their own.
    """
    global _hooked_process
    if _hooked_process == os.getpid():
        return
    if _hooked_process is None:
        atexit.register(_at_exit)
    _hooked_process = os.getpid()
    for name in ("multiprocessing.util", "billiard.util"):
        module = sys.modules.get(name)
        if module is not None:
            module.Finalize(None, _at_exit, exitpriority=0)


def _after_fork_in_child() -> None:
    for delivery in tuple(_alive):
        delivery._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
