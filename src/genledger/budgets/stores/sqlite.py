"""Budgets that the processes of one machine share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from genledger.budgets.leases.lease_protocol import Age, Ask, Counter, Reply, exchange
from genledger.budgets.stores.base import StoreDown
from genledger.shared.database import Departure, SharedDatabase
from genledger.shared.loggers import logger_of

_log = logger_of("genledger.budgets")

BUSY_TIMEOUT = 2.0
"""Seconds to wait for the transactions of other processes; one takes well under a millisecond."""

MARKS_KEPT = 31 * 86400.0
"""Seconds for which marks of others outlive their time, in case it is the clock that is wrong."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS budget_counters (key TEXT PRIMARY KEY, state BLOB NOT NULL, expires REAL NOT NULL)
    WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS budget_counters_by_expiry ON budget_counters (expires);
CREATE TABLE IF NOT EXISTS budget_documents (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget_marks (key TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget_owed (key TEXT PRIMARY KEY, event TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget_age (one INTEGER PRIMARY KEY CHECK (one = 1), seconds REAL NOT NULL);
"""

# The database engine's clock, not Python's: every process that shares the file asks the same one.
_NOW = "SELECT (julianday('now') - 2440587.5) * 86400.0"


class SQLiteStore:
    """A store in one SQLite file, in WAL mode. Not for network file systems, which do not lock reliably.

    Commits are not flushed to the disk one by one: a crash of a process loses nothing, a crash of the machine
    may lose the last moments. A damaged file is a store that is down: what was spent is never forgotten silently.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._age = Age()
        self._database = SharedDatabase(
            Path(path),
            busy_timeout_s=BUSY_TIMEOUT,
            prepare=lambda connection: connection.executescript(_SCHEMA),
            departed=self._note_departure,
        )

    def _note_departure(self, departure: Departure) -> None:
        _log.warning(
            "budget store %s: the file was deleted, and a new one is used. It counts only what running "
            "processes have spent.",
            self._path,
        )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._database.reading() as connection:
                yield connection
        except sqlite3.Error as error:
            raise StoreDown(f"{self._path}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        try:
            with self._database.writing() as connection:
                yield connection, connection.execute(_NOW).fetchone()[0]
        except sqlite3.Error as error:
            raise StoreDown(f"{self._path}: {error}") from error

    def exchange(self, number: int, ttl: float, asks: Sequence[Ask]) -> Reply:
        """See `Store`."""
        with self._writing() as (connection, now):
            age = self._grow_older(connection)
            keys = [ask.counter for ask in asks]
            places = ",".join("?" * len(keys))
            rows = connection.execute(f"SELECT key, state FROM budget_counters WHERE key IN ({places})", keys)
            counters = dict(_loaded(rows))
            reply = exchange(counters, number, ttl, asks, now, age)
            connection.executemany(
                "INSERT INTO budget_counters VALUES (?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET state = excluded.state, expires = excluded.expires",
                [(key, orjson.dumps(counter.dump()), counter.expires) for key, counter in counters.items()],
            )
            self._forget(connection, now, age, 2 * len(keys) + 16)
            return reply

    def _grow_older(self, connection: sqlite3.Connection) -> float:
        row = connection.execute("SELECT seconds FROM budget_age").fetchone()
        age = self._age.hear(row[0] if row else 0.0)
        if row is None or age - row[0] >= 1.0:
            connection.execute("INSERT OR REPLACE INTO budget_age VALUES (1, ?)", (age,))
        return age

    def _forget(self, connection: sqlite3.Connection, now: float, age: float, at_most: int) -> None:
        """Forget counters that are over by the clock and by the age of the store, more than are ever added."""
        over = connection.execute(
            "SELECT key, state FROM budget_counters WHERE expires <= ? ORDER BY expires LIMIT ?", (now, at_most)
        )
        gone = [(key,) for key, counter in _loaded(over) if counter.forget_at <= age]
        connection.executemany("DELETE FROM budget_counters WHERE key = ?", gone)

    def now(self) -> float:
        """See `Store`."""
        with self._reading() as connection:
            return connection.execute(_NOW).fetchone()[0]

    def counters(self) -> dict[str, Counter]:
        """See `Store`."""
        with self._reading() as connection:
            return dict(_loaded(connection.execute(f"SELECT key, state FROM budget_counters WHERE expires > ({_NOW})")))

    def document(self, name: str = "") -> str:
        """See `Store`."""
        with self._reading() as connection:
            return _document(connection, name)

    def replace_document(self, old: str, new: str, name: str = "") -> bool:
        """See `Store`."""
        with self._writing() as (connection, _):
            if _document(connection, name) != old:
                return False
            connection.execute("INSERT OR REPLACE INTO budget_documents VALUES (?, ?)", (name, new))
            return True

    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool:
        """See `Store`."""
        with self._writing() as (connection, now):
            return _mark(connection, now, key, seconds, again)

    def owe(self, key: str, seconds: float, event: str) -> None:
        """See `Store`."""
        with self._writing() as (connection, now):
            if _mark(connection, now, key, seconds):
                connection.execute("INSERT OR REPLACE INTO budget_owed VALUES (?, ?)", (key, event))

    def owed(self) -> dict[str, str]:
        """See `Store`."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT key, event FROM budget_owed"))

    def forget_owed(self, key: str) -> None:
        """See `Store`."""
        with self._writing() as (connection, _):
            connection.execute("DELETE FROM budget_owed WHERE key = ?", (key,))

    def after_fork(self) -> None:
        """See `Store`; the database sees to it itself."""

    def close(self) -> None:
        """See `Store`."""
        self._database.close()


def _document(connection: sqlite3.Connection, name: str) -> str:
    row = connection.execute("SELECT body FROM budget_documents WHERE name = ?", (name,)).fetchone()
    return row[0] if row else ""


def _mark(connection: sqlite3.Connection, now: float, key: str, seconds: float, again: bool = False) -> bool:
    connection.execute("DELETE FROM budget_marks WHERE expires <= ?", (now - MARKS_KEPT,))
    done = connection.execute(
        "INSERT INTO budget_marks VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET expires = excluded.expires WHERE expires <= ? OR ?",
        (key, now + seconds, now, again),
    )
    return done.rowcount == 1


def _loaded(rows: sqlite3.Cursor) -> Iterator[tuple[str, Counter]]:
    return ((key, Counter.load(orjson.loads(state))) for key, state in rows)
