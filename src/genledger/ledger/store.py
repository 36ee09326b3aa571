"""The ledger file: many processes write to one, and each may fork."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from operator import itemgetter
from pathlib import Path

from genledger.engine.later_usage.job_book import Origin
from genledger.engine.record import CacheHit, CallRecord, ProductEvent, StepRecord
from genledger.ledger import rollups
from genledger.ledger.rows import (
    ATTRIBUTION_COLUMNS,
    CALL_COLUMNS,
    COST_COLUMNS,
    HIT_COLUMNS,
    OUTCOME_COLUMNS,
    STEP_COLUMNS,
    attribution_of,
    attribution_values,
    call_values,
    cost_values,
    hit_values,
    outcome_values,
    record_of,
    span_hex,
    start_of,
    start_value,
    step_values,
    trace_hex,
)
from genledger.ledger.schema import explain, open_ledger
from genledger.pricing.cost import Cost
from genledger.shared.database import Departure, rewrite
from genledger.shared.database_errors import concerns_the_file

MAX_AGE_DAYS = 90.0
"""Default time to keep a record."""

MAX_BYTES = 1 << 30
"""Default maximum size of the file: more than a million calls."""

BATCH_DAYS = 90.0
"""How long batches are remembered at least: longer than any provider keeps their results."""

_DAY_NS = 86_400_000_000_000
_PRUNED_AT_ONCE = 2_000
_ROLLED_AT_ONCE = 100
_SETTLED_NS = 600_000_000_000  # a call is written when it ends, and counts in the hour in which it began
_PAGES_AT_ONCE = 1_000

_RECORDS = {"calls": "started_ns", "outcomes": "at_ns", "steps": "started_ns", "cache_hits": "at_ns"}
_BOOKKEEPING = {"batches": "created_ns", "batch_results": "claimed_ns"}


_started_ns = itemgetter(CALL_COLUMNS.index("started_ns"))


@cache
def _insert(table: str, columns: tuple[str, ...], rows: int = 1, *, replace: bool = True) -> str:
    row = f"({', '.join('?' * len(columns))})"
    either = " OR REPLACE" if replace else ""
    return f"INSERT{either} INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}"


# SQLite before 3.32 may take no more than 999 values at once; newer ones take 32,766.
_CALLS_AT_ONCE = 999 // len(CALL_COLUMNS) if sqlite3.sqlite_version_info < (3, 32) else 512


_ENTER_OUTCOME = f"""
    {_insert("outcomes", OUTCOME_COLUMNS, replace=False)}
    ON CONFLICT (name, key) WHERE key IS NOT NULL DO UPDATE SET
    value = excluded.value,
    at_ns = iif(?, excluded.at_ns, at_ns),
    trace_id = iif(?, excluded.trace_id, trace_id), span_id = iif(?, excluded.span_id, span_id),
    {", ".join(f"{name} = ifnull(excluded.{name}, {name})" for name in ("currency", *ATTRIBUTION_COLUMNS))}
"""
_INSERT_HIT = _insert("cache_hits", HIT_COLUMNS)
_INSERT_STEP = _insert("steps", STEP_COLUMNS)
_INSERT_BATCH = _insert("batches", ("provider", "batch_id", "created_ns", "call", *ATTRIBUTION_COLUMNS))
_SET_COST = (
    f"UPDATE calls SET ({', '.join(COST_COLUMNS)}) = ({', '.join('?' * len(COST_COLUMNS))}) "
    "WHERE trace_id = ? AND span_id = ?"
)


def default_path() -> Path:
    """Where the ledger is: `GENLEDGER_LEDGER`, or `ledger.db` in the user's state directory."""
    given = os.environ.get("GENLEDGER_LEDGER")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_state_path("genledger") / "ledger.db"


class Ledger:
    """One ledger file. Safe to share between threads, processes and forks; opened on first use.

    Args:
        path: Ledger file (default: `default_path()`).
        max_age_days: `prune` removes what is older; `None` keeps everything.
        max_bytes: `prune` removes the oldest records until the file is smaller; `None` sets no limit.
        busy_timeout_s: How long to wait while other processes write.
        departed: Called when the file is no longer the one that was written to.

    Every method raises `LedgerError` when the file cannot be used; the next one tries again. A file that turns
    out to be damaged when it is written is put aside, and the next use makes a new one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        max_age_days: float | None = MAX_AGE_DAYS,
        max_bytes: int | None = MAX_BYTES,
        busy_timeout_s: float = 5.0,
        departed: Callable[[Departure], None] = lambda departure: None,
    ) -> None:
        self.path = default_path() if path is None else Path(path)
        self.max_age_days = max_age_days
        self.max_bytes = max_bytes
        self._database = open_ledger(self.path, busy_timeout_s=busy_timeout_s, departed=departed)

    def open(self) -> None:
        """Open the file now, so that what is wrong with it is known now."""
        with self._connection():
            pass

    def try_write(self) -> None:
        """Write to the file, but change nothing in it, so that what is wrong with it or its disk is known now."""
        with self._writing() as connection:
            rewrite(connection)

    def close(self) -> None:
        """Close the file. Another use opens it again."""
        self._database.close()

    def write(
        self,
        entries: Iterable[CallRecord] = (),
        events: Iterable[ProductEvent] = (),
        steps: Iterable[StepRecord] = (),
        hits: Iterable[CacheHit] = (),
    ) -> None:
        """Write all of them or none. An entry or step that is already there is replaced, not added.

        An event with the name and key of one that is there corrects it: what it leaves out stays.

        Raises:
            LedgerError: The file cannot be written.
            LedgerStartedOver: It was damaged or taken away; the same may be written again at once.
            Exception: A record has values that SQLite cannot hold.
        """
        calls = [call_values(entry) for entry in entries]
        outcomes = [(*outcome_values(event), event.timed, event.placed, event.placed) for event in events]
        answered = [hit_values(hit) for hit in hits]
        surroundings = [step_values(step) for step in steps]
        with self._writing() as connection:
            # The interpreter is given away for every statement, and with many busy threads the wait for it is long.
            start, rows = 0, _CALLS_AT_ONCE
            while start < len(calls):
                while rows > len(calls) - start:
                    rows //= 2  # a handful of different statements, which SQLite keeps prepared
                values = list(chain.from_iterable(calls[start : start + rows]))
                connection.execute(_insert("calls", CALL_COLUMNS, rows), values)
                start += rows
            rollups.note_changes(connection, map(_started_ns, calls))
            connection.executemany(_ENTER_OUTCOME, outcomes)
            connection.executemany(_INSERT_HIT, answered)
            connection.executemany(_INSERT_STEP, surroundings)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return a connection that sees the ledger as it is at one moment, for `genledger.ledger.queries`."""
        with self._connection() as connection:
            connection.execute("BEGIN DEFERRED")
            try:
                yield connection
            finally:
                connection.rollback()

    def unpriced(self) -> Iterator[CallRecord]:
        """Calls that have usage but no cost, oldest first. `set_cost` may be called meanwhile."""
        last = (-1, 0)
        while True:
            with self._connection() as connection:
                rows = connection.execute(
                    "SELECT rowid, * FROM calls WHERE unpriced IS NOT NULL AND input IS NOT NULL "
                    "AND (started_ns, rowid) > (?, ?) ORDER BY started_ns, rowid LIMIT 1000",
                    last,
                ).fetchall()
            if not rows:
                return
            for row in rows:
                yield record_of(row)
            last = (rows[-1]["started_ns"], rows[-1]["rowid"])

    def set_cost(self, costs: Iterable[tuple[CallRecord, Cost]]) -> None:
        """Give calls that were unpriced their cost."""
        costs = list(costs)
        values = [
            (*cost_values(cost, None), trace_hex(entry.trace_id), span_hex(entry.span_id)) for entry, cost in costs
        ]
        with self._writing() as connection:
            connection.executemany(_SET_COST, values)
            rollups.note_changes(connection, (entry.started_ns for entry, _ in costs))

    def remember_job(self, provider: str, job_id: str, origin: Origin) -> None:
        """Store the attribution of a job until its results are read."""
        values = (provider, job_id, time.time_ns(), start_value(origin.call), *attribution_values(origin.attribution))
        with self._writing() as connection:
            connection.execute(_INSERT_BATCH, values)

    def job_origin(self, provider: str, job_id: str) -> Origin | None:
        """Return the attribution of a job, or `None` if it was created elsewhere."""
        with self._connection() as connection:
            row = connection.execute(
                "SELECT * FROM batches WHERE provider = ? AND batch_id = ?", (provider, job_id)
            ).fetchone()
        return None if row is None else Origin(attribution_of(row), start_of(row["call"]))

    def unclaimed_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that are not counted yet."""
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT custom_id FROM batch_results WHERE provider = ? AND batch_id = ?", (provider, job_id)
            ).fetchall()
        return set(names) - {row["custom_id"] for row in rows}

    def claim_results(self, provider: str, job_id: str, names: Iterable[str]) -> set[str]:
        """Return the results of a job that are not counted yet. Each is returned only once."""
        claimed = set()
        now = time.time_ns()
        with self._writing() as connection:
            for name in names:
                added = connection.execute(
                    "INSERT OR IGNORE INTO batch_results VALUES (?, ?, ?, ?)",
                    (provider, job_id, name, now),
                )
                if added.rowcount:
                    claimed.add(name)
        return claimed

    def roll_up(self, most: int = _ROLLED_AT_ONCE) -> int:
        """Add up the calls of hours that are over, oldest first; return for how many hours.

        Works in one short transaction for each hour, so that other writers are not held up.
        """
        with self._connection() as connection:
            hours = rollups.unrolled(connection, time.time_ns() - _SETTLED_NS, most)
        for hour in hours:
            with self._writing() as connection:
                rollups.roll_up(connection, hour)
        return len(hours)

    def size_bytes(self) -> int:
        """Return the size of the file without its journal."""
        with self._connection() as connection:
            return _pages(connection, "page_count") * _pages(connection, "page_size")

    def prune(self) -> int:
        """Remove what is too old, and the oldest beyond `max_bytes`; returns how many records.

        Works in short transactions, so that other writers are not held up.
        """
        now = time.time_ns()
        removed = 0
        if self.max_age_days is not None:
            oldest = now - int(self.max_age_days * _DAY_NS)
            for table, column in _RECORDS.items():
                removed += self._remove(table, column, oldest)
            for table, column in _BOOKKEEPING.items():
                removed += self._remove(table, column, min(oldest, now - int(BATCH_DAYS * _DAY_NS)))
        if self.max_bytes is not None and self._used_bytes() > self.max_bytes:
            # A little more than needed, so that not every further call makes room for itself.
            while self._used_bytes() > self.max_bytes * 0.95 and (removed_now := self._remove_oldest()):
                removed += removed_now
        if removed:
            self._give_back()
        return removed

    def _remove(self, table: str, column: str, before_ns: int) -> int:
        removed = 0
        while True:
            with self._writing() as connection:
                last = connection.execute(
                    f"SELECT max({column}) FROM (SELECT {column} FROM {table} WHERE {column} < ? "
                    f"ORDER BY {column} LIMIT {_PRUNED_AT_ONCE})",
                    (before_ns,),
                ).fetchone()[0]
                if last is None:
                    return removed
                removed += _delete(connection, table, column, last)

    def _remove_oldest(self) -> int:
        each = " UNION ALL ".join(
            f"SELECT * FROM (SELECT {column} AS at_ns FROM {table} ORDER BY {column} LIMIT {_PRUNED_AT_ONCE})"
            for table, column in _RECORDS.items()
        )
        with self._writing() as connection:
            last = connection.execute(
                f"SELECT max(at_ns) FROM (SELECT at_ns FROM ({each}) ORDER BY at_ns LIMIT {_PRUNED_AT_ONCE})"
            ).fetchone()[0]
            if last is None:
                return 0
            return sum(_delete(connection, table, column, last) for table, column in _RECORDS.items())

    def _used_bytes(self) -> int:
        with self._connection() as connection:
            used = _pages(connection, "page_count") - _pages(connection, "freelist_count")
            return used * _pages(connection, "page_size")

    def _give_back(self) -> None:
        """Return free pages to the file system, a few at a time."""
        while True:
            with self._writing() as connection:
                # SQLite frees one page per row that is fetched.
                connection.execute(f"PRAGMA incremental_vacuum({_PAGES_AT_ONCE})").fetchall()
                if not _pages(connection, "freelist_count"):
                    return

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), self._database.writing() as connection:
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if concerns_the_file(error):
                raise explain(error, self.path) from error
            raise


def _delete(connection: sqlite3.Connection, table: str, column: str, last_ns: int) -> int:
    if table == "calls":
        rollups.note_removal(connection, last_ns)
    return connection.execute(f"DELETE FROM {table} WHERE {column} <= ?", (last_ns,)).rowcount


def _pages(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
