"""The local ledger as a destination: its own queue and thread, and one `put` on the caller's path."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import TypedDict
from weakref import WeakSet

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from genledger.destinations.delivery.suppress import suppressed
from genledger.destinations.ledger_steps import StepReader
from genledger.engine.content.redaction import stage
from genledger.engine.foreign_spans.places import SpansAround
from genledger.engine.record import CacheHit, CallRecord, ProductEvent, StepRecord
from genledger.engine.recorder import SCOPE
from genledger.ledger import Ledger, LedgerError, LedgerLocked, LedgerStartedOver
from genledger.ledger.store import MAX_AGE_DAYS, MAX_BYTES
from genledger.shared.after_fork import run_after_fork
from genledger.shared.database import Departure
from genledger.shared.loggers import logger_of
from genledger.shared.worker import Worker

_logger = logger_of(__name__)

MAX_QUEUE = 20_000
"""Records that wait in memory at most while the file cannot be written."""

BUSY_TIMEOUT_S = 1.0
"""Seconds to wait for other processes before it is said that the file is locked."""

_INTERVAL_S = 0.25
_FLUSH_FED_S = 1.0
_AT_ONCE = 1_000
_FIRST_DELAY_S = 0.1
_LAST_DELAY_S = 30.0
_PRUNE_EVERY_S = 3_600.0
_PRUNE_EVERY_RECORDS = 10_000

Record = CallRecord | ProductEvent | StepRecord | CacheHit


class LedgerStats(TypedDict):
    """Counters of the records of this process.

    `accepted` were taken into the queue; each of them is `written`, `waiting`, or counted in `dropped` as
    `invalid` (SQLite cannot hold it), `shutdown` (not written in time), `damaged` (written to a file that was
    put aside as damaged, from where some may be saved) or `removed` (written to a file that was then taken away).
    `dropped` also counts those that were never accepted: `queue_full`, and `closed` after the shutdown.
    """

    accepted: int
    written: int
    waiting: int
    dropped: dict[str, int]


_LOST = ("invalid", "shutdown", "damaged", "removed")
"""Why a record that was accepted is in no file."""


class LedgerDestination:
    """Write calls, product events, cache hits and steps to the ledger file, in batches, from a separate thread.

    A file that cannot be written delays nobody: records wait in memory, at most `max_queue` of them, and are
    written when it works again. One log line says that it fails, and one that it recovered. After a fork, the
    child starts with an empty queue, and the parent writes what was accepted before.

    Args:
        path: Ledger file (default: `genledger.ledger.default_path()`).
        max_age_days: Records older than this are removed; `None` keeps everything.
        max_bytes: The oldest records are removed beyond this size of the file; `None` sets no limit.
        max_queue: Records that wait in memory at most.
    """

    is_fed = False
    """Whether it is behind another's queue, whose owner hands the last records over and shuts it down: at exit that may
    come after our turn."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_age_days: float | None = MAX_AGE_DAYS,
        max_bytes: int | None = MAX_BYTES,
        max_queue: int = MAX_QUEUE,
    ) -> None:
        self.ledger = Ledger(
            path,
            max_age_days=max_age_days,
            max_bytes=max_bytes,
            busy_timeout_s=BUSY_TIMEOUT_S,
            departed=self._note_departure,
        )
        self._max_queue = max_queue
        self._room = max_queue
        self._give_up_at: float | None = None
        self._worker = Worker(
            "genledger-ledger", self._work, delay_s=_INTERVAL_S, within=suppressed, at_exit=_shut_down_all
        )
        self._start_over()
        run_after_fork(self._start_over)
        _all.add(self)

    def _start_over(self) -> None:
        self._queue: deque[Record] = deque()
        self._batch: list[Record] = []
        self._at_once = _AT_ONCE
        # Re-entrant: a stream that is garbage-collected in here settles, and comes back with its entry.
        self._lock = threading.RLock()
        self._dropped: Counter[str] = Counter()
        self._written = 0
        self._in_file = 0
        self._taken = 0
        self._delay_s = _FIRST_DELAY_S
        self._failed_at: float | None = None
        self._prune_at = 0.0
        self._unpruned = 0

    def check(self) -> str | None:
        """Open the file, and create it if it is missing. Return the problem, or `None`.

        The caller says it aloud, then; the destination goes on trying, and says only that it works again.
        """
        try:
            self.ledger.open()
        except LedgerError as error:
            self._failed_at = time.monotonic()
            return str(error)
        return None

    def accept(self, record: Record) -> None:
        """Take a record, to be written soon. Never blocks, never raises; from any thread."""
        queue = self._queue
        if len(queue) >= self._room:
            self._drop("queue_full" if self._give_up_at is None else "closed")
            return
        queue.append(record)
        if len(queue) == _AT_ONCE:
            self._worker.hurry()
        else:
            self._worker.rouse()

    def flush(self, timeout: float = 5.0) -> bool:
        """Write everything accepted so far; `False` when that took longer than `timeout` seconds."""
        if self._give_up_at is not None:
            return self.shutdown()
        with self._lock:
            wanted = self._taken + len(self._queue)
        return self._worker.flush(lambda: self._settled() >= wanted, timeout)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Write what is left and stop; `False` when not everything was written within `timeout` seconds."""
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + timeout
            self._room = 0
            self._worker.stop()
        self._worker.join(self._give_up_at - time.monotonic())
        stats = self.stats()
        return not stats["waiting"] and not stats["dropped"].get("shutdown")

    def stats(self) -> LedgerStats:
        """Return the counts so far."""
        with self._lock:
            accepted = self._taken + len(self._queue)
            return LedgerStats(
                accepted=accepted,
                written=self._written,
                waiting=accepted - self._settled(),
                dropped=dict(self._dropped),
            )

    def _settled(self) -> int:
        """Count the accepted records that are written, or will never be."""
        with self._lock:
            return self._written + sum(self._dropped[reason] for reason in _LOST)

    def _drop(self, reason: str, count: int = 1) -> None:
        with self._lock:
            self._dropped[reason] += count

    def _work(self) -> float | None:
        """Write what is there. Return the seconds until it is to be tried again, or `None`."""
        while self._batch or self._take():
            pause = self._write()
            if pause is not None:
                return pause
            if time.monotonic() > self._prune_at or self._unpruned >= _PRUNE_EVERY_RECORDS:
                self._prune_at, self._unpruned = time.monotonic() + _PRUNE_EVERY_S, 0
                try:
                    self.ledger.prune()
                    self.ledger.roll_up()
                except LedgerError as error:
                    _logger.debug("Not pruned: %s", error)  # the next write says it aloud if it lasts
        if self._give_up_at is not None:
            self.ledger.close()
        return None

    def _take(self) -> bool:
        """Take the next records from the queue; whether there are any."""
        queue, batch = self._queue, self._batch
        with self._lock:
            while queue and len(batch) < _AT_ONCE:
                batch.append(queue.popleft())
            self._taken += len(batch)
        self._unpruned += len(batch)
        return bool(batch)

    def _write(self) -> float | None:
        """Write some records. Return the seconds until they are to be tried again, or `None` when that is now."""
        some = self._batch[: self._at_once]
        try:
            self.ledger.write(
                entries=[record for record in some if isinstance(record, CallRecord)],
                events=[record for record in some if isinstance(record, ProductEvent)],
                steps=[record for record in some if isinstance(record, StepRecord)],
                hits=[record for record in some if isinstance(record, CacheHit)],
            )
        except LedgerStartedOver:
            return None
        except LedgerError as error:
            return self._failed(error)
        except Exception as error:
            # Whatever is wrong with a record, the others must get through: one by one, then.
            if self._at_once == 1:
                if not self._dropped["invalid"]:
                    what = stage().message(f"{error!r}: {some[0]!r}", 400)
                    _logger.warning("The ledger cannot store a record: %s", what)
                self._drop("invalid")
                del self._batch[0]
            self._at_once = 1
        else:
            with self._lock:
                self._written += len(some)
                self._in_file += len(some)
            del self._batch[: len(some)]
            if self._failed_at is not None:
                lasted, self._failed_at = time.monotonic() - self._failed_at, None
                _logger.warning("ledger %s: works again after %.1f s.", self.ledger.path, lasted)
        if not self._batch:
            self._at_once, self._delay_s = _AT_ONCE, _FIRST_DELAY_S
        return None

    def _failed(self, error: LedgerError) -> float | None:
        """Note that the records at hand were not written; wait, or give up."""
        if self._failed_at is None:
            self._failed_at = time.monotonic()
            _logger.warning("%s Until it works, up to %d records wait in memory.", error, self._max_queue)
        locked = isinstance(error, LedgerLocked)
        end = self._give_up_at
        # Other processes let go of a lock; no seconds make a disk writable or give it room.
        if end is not None and not (locked and time.monotonic() + _FIRST_DELAY_S <= end):
            with self._lock:
                lost = len(self._batch) + len(self._queue)
                self._taken += len(self._queue)
                self._queue.clear()
                self._dropped["shutdown"] += lost
            self._batch.clear()
            _logger.warning("%s %d records were lost at exit.", error, lost)
            return None
        if locked:
            return 0.0  # to keep the place in the queue
        delay, self._delay_s = self._delay_s, min(2 * self._delay_s, _LAST_DELAY_S)
        return delay

    def _note_departure(self, departure: Departure) -> None:
        """Count and say what was in a file that is no longer at its path."""
        reason, where = departure
        with self._lock:
            count, self._in_file = self._in_file, 0
            if count and reason != "moved":
                self._written -= count
                self._dropped[reason] += count
        if reason == "damaged":
            _logger.warning(
                "ledger %s: the file was damaged. It is kept as %s, and a new one is used. Lost with it may be "
                "%d records that this process had written; `sqlite3 %s .recover` may save them.",
                *(self.ledger.path, where, count, where),
            )
        elif reason == "removed" and count:
            _logger.warning(
                "ledger %s: the file was taken away, and with it %d records that this process had written. "
                "A new one is used.",
                *(self.ledger.path, count),
            )


_all: WeakSet[LedgerDestination] = WeakSet()


def _shut_down_all() -> None:
    for destination in list(_all):
        if destination.is_fed:
            destination.flush(_FLUSH_FED_S)
        else:
            destination.shutdown()


class LedgerSpanExporter(SpanExporter):
    """The ledger under any OpenTelemetry distribution: `OTEL_TRACES_EXPORTER=ledger`.

    Writes the GenAI spans among those exported; `GENLEDGER_LEDGER` says where to.
    """

    def __init__(self) -> None:
        self._destination = LedgerDestination()
        self._destination.is_fed = True
        self._steps = StepReader(SpansAround())

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans; they are written soon, or on `force_flush` and `shutdown`."""
        from genledger.engine.foreign_spans.reader import record_of

        for span in spans:
            call = record_of(span)
            if call is not None and call.library != SCOPE and call.cost is None and call.usage is None:
                call = None  # another instrumentation's span around or inside a call that is priced
            record = self._steps.end(span, is_call=call is not None) or call
            if record is not None:
                self._destination.accept(record)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Write what is left and stop."""
        self._destination.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write everything exported so far."""
        return self._destination.flush(timeout_millis / 1_000)
