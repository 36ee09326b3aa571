"""Budgets that the processes of one machine share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from ..exchange import Ask, Counter, Reply, exchange
from .base import StoreDown

BUSY_TIMEOUT = 2.0
"""Seconds to wait for another process's transaction; one takes well under a millisecond."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS budget_counters (key TEXT PRIMARY KEY, state BLOB NOT NULL, expires REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS budget_counters_by_expiry ON budget_counters (expires);
CREATE TABLE IF NOT EXISTS budget_document (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS budget_marks (key TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
"""

# The database engine's clock, not Python's: every process that shares the file asks the same one.
_NOW = "SELECT (julianday('now') - 2440587.5) * 86400.0"


class SQLiteStore:
    """A store in one SQLite file, in WAL mode. Not for network file systems, which do not lock reliably.

    Commits are not flushed to the disk one by one: a crash of a process loses nothing, a crash of the machine
    may lose the last moments.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def _open(self) -> sqlite3.Connection:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise StoreDown(f"{self._path}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection, connection.execute(_NOW).fetchone()[0]
            except BaseException:
                connection.rollback()
                raise
            connection.execute("COMMIT")

    def exchange(self, number: int, ttl: float, asks: Sequence[Ask]) -> Reply:
        """See `Store`."""
        with self._writing() as (connection, now):
            keys = [ask.counter for ask in asks]
            places = ",".join("?" * len(keys))
            rows = connection.execute(f"SELECT key, state FROM budget_counters WHERE key IN ({places})", keys)
            counters = {key: Counter.load(orjson.loads(state)) for key, state in rows}
            reply = exchange(counters, number, ttl, asks, now)
            connection.executemany(
                "INSERT INTO budget_counters VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires = excluded.expires",
                [(key, orjson.dumps(counter.dump()), counter.expires) for key, counter in counters.items()],
            )
            connection.execute("DELETE FROM budget_counters WHERE expires <= ?", (now,))
            return reply

    def now(self) -> float:
        """See `Store`."""
        with self._connected() as connection:
            return connection.execute(_NOW).fetchone()[0]

    def counters(self) -> dict[str, Counter]:
        """See `Store`."""
        with self._connected() as connection:
            rows = connection.execute(f"SELECT key, state FROM budget_counters WHERE expires > ({_NOW})")
            return {key: Counter.load(orjson.loads(state)) for key, state in rows}

    def document(self) -> str:
        """See `Store`."""
        with self._connected() as connection:
            row = connection.execute("SELECT body FROM budget_document").fetchone()
        return row[0] if row else ""

    def replace_document(self, old: str, new: str) -> bool:
        """See `Store`."""
        with self._writing() as (connection, _):
            row = connection.execute("SELECT body FROM budget_document").fetchone()
            if (row[0] if row else "") != old:
                return False
            connection.execute("INSERT OR REPLACE INTO budget_document VALUES (1, ?)", (new,))
            return True

    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool:
        """See `Store`."""
        with self._writing() as (connection, now):
            connection.execute("DELETE FROM budget_marks WHERE expires <= ?", (now,))
            verb = "INSERT OR REPLACE" if again else "INSERT OR IGNORE"
            done = connection.execute(f"{verb} INTO budget_marks VALUES (?, ?)", (key, now + seconds))
            return done.rowcount == 1

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def after_fork(self) -> None:
        """See `Store`."""
        self._lock = threading.Lock()
        # SQLite forbids using, and even closing, a parent's connection here: closing would drop its locks.
        _INHERITED.append(self._connection)
        self._connection = None

    def close(self) -> None:
        """See `Store`."""
        with self._lock:
            self._disconnect()


_INHERITED: list[sqlite3.Connection | None] = []
"""Connections of parent processes, kept from being closed by the garbage collector."""
