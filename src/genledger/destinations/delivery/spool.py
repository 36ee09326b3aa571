"""What is kept on disk until a receiver takes it, in one SQLite file for all of them.

A row is one request, or one span of a durable call. It belongs to whoever put it there for as long as that lives; then
the next process of the same receiver takes it over. What others than this user can have written is neither sent nor
removed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from sqlite3 import Connection, Error, IntegrityError
from typing import NamedTuple, TypeVar

from genledger.destinations.delivery.ownership import is_own_directory, is_own_file, own_directory, own_file
from genledger.destinations.delivery.spool_rows import (
    INSERT,
    LARGEST_BATCH,
    OURS,
    PLACES,
    TABLES,
    SpoolRow,
    Values,
    compress,
    deleting,
    listed,
    range_of,
    read_request,
    values_of,
)
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock
from genledger.shared.database import Departure, SharedDatabase, rewrite
from genledger.shared.database_errors import StartedOver
from genledger.shared.liveness import Liveness
from genledger.shared.loggers import logger_of

log = logger_of("genledger")

MAX_BYTES = 256 * 1024 * 1024
"""Bytes that one receiver may have on disk unless told otherwise."""

MAX_AGE_S = 7 * 86_400.0
"""Seconds after which a request that its receiver still does not take is dropped, unless told otherwise."""

_FILE = "spool.db"
_BUSY_TIMEOUT_S = 1.0
_REFUSED_S = 1.0
_ROOM = 0.95
_CHECK_S = 1.0
_LOG_PAGES = 8_000
_FREE_PAGES = 1_000
_AT_ONCE = 100

T = TypeVar("T")

_Read = tuple[SpoolRow, bytes | None]


class Kept(NamedTuple):
    """A request on disk that its spool has handed out."""

    row: int
    data: bytes
    spans: int


class Pending(NamedTuple):
    """How much waits on disk: requests, the spans in them, and their bytes there."""

    requests: int
    spans: int
    bytes: int


@dataclass(eq=False, slots=True)
class _Arrival:
    """A span that is to be on disk before its call returns."""

    data: bytes
    row: int | None = None


class Spool:
    """What one receiver has not taken, on disk, bounded by bytes and by age; the oldest goes first.

    Every method but `put` and `append` answers for itself when the disk does not: a spool never raises into delivery.
    `lost` counts spans by what became of them: `spool_full`, `spool_expired`, `spool_corrupt`, `spool_removed`.

    Args:
        directory: Where the file is; made when first needed, for this user only.
        destination: Who the receiver is.
        max_bytes: Bytes that its requests may have together.
        max_age_s: Seconds after which a request that the receiver still does not take is dropped.
        fsync: Whether `append` waits for the disk itself, so that a power loss loses nothing either.
        clock: Whose time the age is measured in.
    """

    def __init__(
        self,
        directory: Path,
        destination: str = "",
        *,
        max_bytes: int = MAX_BYTES,
        max_age_s: float = MAX_AGE_S,
        fsync: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.path = directory.absolute() / _FILE
        self.destination = destination
        self._max_bytes = max_bytes
        self._max_age_us = int(max_age_s * 1e6)
        self._first_id, beyond = range_of(destination)
        self._ours = (self._first_id, beyond, destination)
        self._clock = clock
        self._database = self._open("NORMAL", self._departed)
        # Who ends a span must not wait while the delivery's thread reads, joins and moves the log.
        self._appends = self._open("FULL" if fsync else "NORMAL", lambda departure: None)
        self.forget()

    def forget(self) -> None:
        """Begin anew, as at first, and in a forked child: what is on disk is the parent's."""
        self.lost: Counter[str] = Counter()
        self._liveness = Liveness(self.path.with_name(f"{_FILE}-owners"))
        self._lock = threading.RLock()
        self._arrivals: list[_Arrival] = []
        self._last_id = 0
        self._held: set[int] = set()
        self._left = 0  # spans that are on disk only
        self._bytes: int | None = None
        self._changed = self._stale = False
        self._checked_at = self._refused_at = float("-inf")
        self._inside: set[int] = set()

    def _open(self, synchronous: str, departed: Callable[[Departure], None]) -> SharedDatabase:
        def prepare(connection: Connection) -> None:
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")  # `tidy` comes before that
            for statement in TABLES:
                connection.execute(statement)

        return SharedDatabase(
            self.path,
            busy_timeout_s=_BUSY_TIMEOUT_S,
            prepare=prepare,
            replace_damaged=True,
            departed=departed,
        )

    # Putting

    def put(
        self, data: bytes, spans: int, *, replacing: Collection[int] = (), alone: bool = False, held: bool = False
    ) -> int:
        """Keep one request, in place of the rows that it consists of, if there are any.

        Args:
            data: The request.
            spans: How many spans are in it.
            replacing: The rows that go, at the same moment.
            alone: Whether no other is ever joined to it, as it has been sent before.
            held: Whether it is in memory, too: `claim` does not find it before it is released.

        Returns:
            Its row.

        Raises:
            OSError: The disk is full, read-only or not there, others can write to the directory, or the request is
                larger than the bound.
        """
        if len(data) > LARGEST_BATCH:
            raise OSError(f"a request of {len(data)} bytes is larger than any receiver takes")
        body = compress(data)
        if len(body) > self._max_bytes:
            raise OSError(f"a request of {len(body)} bytes does not fit in a spool of {self._max_bytes}")

        def insert(connection: Connection) -> tuple[int, int, int]:
            connection.execute(deleting(replacing))
            size, dropped = self._make_room(connection, len(body))
            (row,) = self._insert(connection.execute, [self._row(data, body, spans, alone)], held=held)
            return row, size + len(body), dropped

        row, self._bytes, dropped = self._write(insert)
        self._held.difference_update(replacing)
        self._left += 0 if held else spans
        self._drop(dropped, "spool_full")
        return row

    def append(self, data: bytes) -> int | None:
        """Keep one span that is in memory, too, and return when it is on disk. Any thread may call this.

        Those that come together are written together.

        Returns:
            Its row; `None` when the span ended in here, by a garbage collection.

        Raises:
            OSError: The disk does not take it, or did not take another one a moment ago.
        """
        me = threading.get_ident()
        if me in self._inside:
            return None
        if self._clock.now() - self._refused_at < _REFUSED_S:
            raise OSError("the disk did not take a record a moment ago")
        arrival = _Arrival(data)
        self._arrivals.append(arrival)
        with self._lock:
            self._inside.add(me)
            try:
                while arrival in self._arrivals:
                    self._write_arrivals()
            except Exception:
                self._refused_at = self._clock.now()
                raise
            finally:
                self._inside.discard(me)
        if arrival.row is None:
            raise OSError("the disk did not take the records that came together")
        return arrival.row

    def _write_arrivals(self) -> None:
        arrivals = self._arrivals[:_AT_ONCE]
        del self._arrivals[:_AT_ONCE]
        size = sum([len(arrival.data) for arrival in arrivals])
        if self._bytes is None or self._bytes + size > self._max_bytes:
            self._bytes, dropped = self._write(partial(self._make_room, size=size))
            self._drop(dropped, "spool_full")
        self._prepare()
        if self._stale:
            self._stale = False
            self._appends.close()
        with _explained(self.path):
            values = [self._row(one.data, one.data, 1, False) for one in arrivals]
            rows = self._insert(self._appends.add, values, held=True)
        self._bytes += size
        self._changed = True
        for arrival, row in zip(arrivals, rows, strict=True):
            arrival.row = row

    def _row(self, data: bytes, body: bytes, spans: int, alone: bool) -> Values:
        return values_of(self.destination, self._liveness.token, data, body, spans, alone)

    def _now(self) -> int:
        return self._first_id + self._clock.wall_ns() // 1000

    def _insert(
        self, execute: Callable[[str, list[str | bytes | int]], object], rows: Sequence[Values], *, held: bool
    ) -> range:
        while True:
            # Unique also after a damaged file has been replaced: what is known of the former fits no row of the new.
            first = max(self._last_id + 1, self._now())
            ids = range(first, first + len(rows))
            self._last_id = ids[-1]
            if held:
                self._held.update(ids)  # before anybody can see them
            values = [value for number, row in zip(ids, rows, strict=True) for value in (number, *row)]
            try:
                execute(INSERT + f", {PLACES}" * (len(rows) - 1), values)
            except IntegrityError:
                self._held.difference_update(ids)  # another process was here at the same microsecond
            else:
                return ids

    def _make_room(self, connection: Connection, size: int) -> tuple[int, int]:
        """Drop the oldest until so many bytes fit: the bytes that are left, and the spans that were dropped."""
        left = int(
            connection.execute(f"SELECT coalesce(sum(bytes), 0) FROM waiting WHERE {OURS}", self._ours).fetchone()[0]
        )
        spans, gone = 0, []
        if left + size > self._max_bytes:
            # A little more than needed, so that not every further one makes room for itself.
            for row in self._free(connection):
                if left + size <= self._max_bytes * _ROOM:
                    break
                gone.append(row.id)
                spans += row.spans
                left -= row.bytes
        connection.execute(deleting(gone))
        if left + size > self._max_bytes:
            raise OSError(f"no room for {size} bytes in a spool of {self._max_bytes}")
        return left, spans

    # Sending

    def claim(self, spans: int, size: int, *, own: bool = False) -> Kept | None:
        """The oldest request that this process may send, and no other meanwhile, if there is any.

        Requests that were never sent are joined to one of at most so many spans and bytes.

        Args:
            spans: How many spans are sent at once.
            size: How many bytes.
            own: Whether to leave what former processes left.
        """
        try:
            while True:
                with self._reading() as connection:
                    rows = [] if connection is None else self._oldest(connection, spans, size, own=own)
                if not rows:
                    return None
                (first, data), *_ = rows
                if data is not None:
                    return self._take(rows)
                self._write(partial(_run, statement=deleting([first.id])))
                self._drop(first.spans, "spool_corrupt")
        except OSError:
            with suppress(OSError):
                self._write(lambda connection: None)  # finds out whether the file is damaged, and starts over
            return None

    def _oldest(self, connection: Connection, spans: int, size: int, *, own: bool) -> list[_Read]:
        """The rows that make the next request, and what is in them."""
        rows: list[_Read] = []
        for row in self._free(connection, own=own):
            spans, size = spans - row.spans, size - row.size
            if rows and (row.alone or spans < 0 or size < 0):
                break
            data = read_request(connection, row)
            if rows and data is None:
                break
            rows.append((row, data))
            if row.alone or data is None:
                break
        return rows

    def _take(self, found: list[_Read]) -> Kept | None:
        """Make one row of several, which is this process's; `None` if another one was faster."""
        rows = [row for row, _ in found]
        # Serialized messages of one type, one after the other, are that message with all their parts.
        kept = Kept(rows[0].id, b"".join([data for _, data in found if data]), sum(row.spans for row in rows))
        joined = self._row(kept.data, compress(kept.data), kept.spans, True) if len(rows) > 1 else None
        ids = listed(row.id for row in rows)

        def take(connection: Connection) -> bool:
            owners = connection.execute(f"SELECT id, owner FROM waiting WHERE id IN ({ids})").fetchall()
            if dict(owners) != {row.id: row.owner for row in rows}:
                return False
            if joined is not None:
                connection.execute(f"DELETE FROM waiting WHERE id IN ({ids})")
                connection.execute(INSERT, (kept.row, *joined))
            else:
                connection.execute(
                    "UPDATE waiting SET owner = ?, alone = 1 WHERE id = ?", (self._liveness.token, kept.row)
                )
            return True

        if not self._write(take):
            return None
        self._held.add(kept.row)
        self._left = max(0, self._left - kept.spans)
        return kept

    def release(self, row: int, spans: int) -> None:
        """Give a request back that was not sent, to be claimed again."""
        if row in self._held:
            self._held.remove(row)
            self._left += spans

    def done(self, rows: Collection[int]) -> None:
        """These rows need no keeping any more."""
        if rows:
            # What a disk that has become read-only does not let go of stays held, and is not sent over and over.
            with suppress(OSError):
                self._write(partial(_run, statement=deleting(rows)))
                self._held.difference_update(rows)

    def expire(self) -> None:
        """Drop what is older than the bound. Asked only while the receiver does not take anything.

        A request is therefore never dropped for its age before it was tried, whatever the clock says.
        """
        oldest = self._now() - self._max_age_us

        def delete(connection: Connection) -> int:
            old = list(takewhile(lambda row: row.id < oldest, self._free(connection)))
            connection.execute(deleting(row.id for row in old))
            return sum(row.spans for row in old)

        if self.exists():
            with suppress(OSError):
                self._drop(self._write(delete), "spool_expired")

    # What there is

    def is_empty(self) -> bool:
        """Whether nothing waits that this process could send."""
        with suppress(OSError), self._reading() as connection:
            return connection is None or next(self._free(connection), None) is None
        return True

    def pending(self) -> Pending:
        """What waits that this process could send."""
        rows: list[SpoolRow] = []
        with suppress(OSError), self._reading() as connection:
            rows = list(self._free(connection)) if connection is not None else []
        return Pending(len(rows), sum(row.spans for row in rows), sum(row.bytes for row in rows))

    def all_pending(self) -> Pending:
        """What waits for all receivers together, whoever may be sending it."""
        found = (0, 0, 0)
        with suppress(OSError), self._reading() as connection:
            if connection is not None:
                sums = "SELECT count(*), coalesce(sum(spans), 0), coalesce(sum(bytes), 0) FROM waiting"
                found = connection.execute(sums).fetchone()
        return Pending(*found)

    def exists(self) -> bool:
        """Whether anything was ever kept here."""
        return is_own_directory(self.path.parent) and is_own_file(self.path)

    def _free(self, connection: Connection, *, own: bool = False) -> Iterator[SpoolRow]:
        """The rows that this process may send or drop, oldest first: what it does not hold, and what the dead left."""
        lives: dict[int, bool] = {}
        columns = ", ".join(SpoolRow._fields)
        rows = connection.execute(f"SELECT {columns} FROM waiting WHERE {OURS} ORDER BY id", self._ours)
        for row in map(SpoolRow._make, rows):
            if row.owner == self._liveness.token:
                if row.id not in self._held:
                    yield row
            elif not own:
                if row.owner not in lives:
                    lives[row.owner] = self._liveness.lives(row.owner)
                if not lives[row.owner]:
                    yield row

    # Units

    def add_units(self, month: str, units: int) -> int:
        """Count units that Langfuse bills for; return those of the month, of all processes that share this spool.

        Raises:
            OSError: They cannot be counted here.
        """
        key = (self.destination, month)

        def add(connection: Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO units VALUES (?, ?, 0)", key)
            connection.execute("UPDATE units SET units = units + ? WHERE destination = ? AND month = ?", (units, *key))
            found = connection.execute("SELECT units FROM units WHERE destination = ? AND month = ?", key)
            return int(found.fetchone()[0])

        return self._write(add)

    # The file

    def try_write(self) -> None:
        """Make the file if it is missing, and write to it, but change nothing in it.

        Raises:
            OSError: It cannot be made or written.
        """
        self._write(rewrite)

    def tidy(self) -> None:
        """Move the log into the file, which waits for the disk; and give back what is free when little else is left."""
        if self._changed:
            self._changed = False
            with suppress(OSError), self._reading() as connection:
                if connection is not None:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
                    used = connection.execute("PRAGMA page_count").fetchone()[0] - free
                    if free > _FREE_PAGES > used:
                        connection.execute("VACUUM")

    def close(self) -> None:
        """Let go of the file; what is in it is for the next process."""
        self._liveness.end()
        self._checked_at = float("-inf")
        self._appends.close()
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A connection to read from, if there is a file.

        Raises:
            OSError: It cannot be read.
        """
        if not self.exists():
            yield None
            return
        with self._marked(), _explained(self.path), self._database.reading() as connection:
            yield connection

    def _write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction, perhaps twice.

        Raises:
            OSError: The file cannot be written.
        """
        with self._lock, self._marked(), _explained(self.path):
            self._prepare()
            self._changed = True
            try:
                with self._database.writing() as connection:
                    return work(connection)
            except StartedOver:
                with self._database.writing() as connection:
                    return work(connection)

    @contextmanager
    def _marked(self) -> Iterator[None]:
        """A span that ends in here, by a garbage collection, must not wait for what its own thread holds."""
        me = threading.get_ident()
        if me in self._inside:
            yield
            return
        self._inside.add(me)
        try:
            yield
        finally:
            self._inside.discard(me)

    def _prepare(self) -> None:
        """See that the file, and all that belongs to it, is this user's alone.

        Raises:
            OSError: It is not, or cannot be made so.
        """
        now = self._clock.now()
        if now - self._checked_at > _CHECK_S:
            own_directory(self.path.parent)
            for suffix in ("", "-wal", "-shm", "-lock", "-owners"):
                own_file(self.path.with_name(f"{_FILE}{suffix}"))
            self._liveness.begin()
            self._checked_at = now

    def _drop(self, spans: int, reason: str) -> None:
        if spans:
            self.lost[reason] += spans
            self._left = max(0, self._left - spans)

    def _departed(self, departure: Departure) -> None:
        """Count what was in a file that is no longer at its path."""
        left, self._left, self._bytes, self._checked_at = self._left, 0, None, float("-inf")
        self._stale = True
        if departure.reason != "moved":
            self._drop(left, "spool_corrupt" if departure.reason == "damaged" else "spool_removed")
        log.warning(
            "genledger: the spool %s was %s%s; a new one is used. %d records of this process were in it",
            self.path, departure.reason, "" if departure.where is None else f" ({departure.where})", left,
        )  # fmt: skip


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except Error as error:
        raise OSError(f"{path}: {error}") from error


def _run(connection: Connection, statement: str) -> None:
    connection.execute(statement)
