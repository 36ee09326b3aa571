"""The ledger as the page reads it: several readers at once, none of which can write; and the rollups it needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import LifoQueue

from genledger.dashboards.local_page.page import TraceSpans
from genledger.ledger import Ledger, LedgerError, query, traces
from genledger.ledger.query import Answer, Query
from genledger.shared.loggers import logger_of

_READERS = 4
_HOURS_AT_ONCE = 100
_log = logger_of(__name__)


class Readers:
    """Answers the page's questions; safe to share between threads.

    Args:
        path: The ledger file.
    """

    def __init__(self, path: Path) -> None:
        self._free: LifoQueue[Ledger] = LifoQueue()
        for _ in range(_READERS):
            self._free.put(Ledger(path))

    def check(self) -> None:
        """Raise `LedgerError` if the file cannot be read."""
        with self.reading():
            pass

    def ask(self, asked: Query) -> Answer:
        """Answer a question, as `genledger.ledger.query.ask` does."""
        with self.reading() as connection:
            return query.ask(connection, asked)

    def find(self, digits: str) -> TraceSpans:
        """Return the traces whose ids begin with some digits, and the spans if it is one."""
        with self.reading() as connection:
            found = traces.traces(connection, digits)
            return TraceSpans(found, traces.trace(connection, found[0]) if len(found) == 1 else [])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return a connection that cannot write."""
        ledger = self._free.get()
        try:
            with ledger.reading() as connection:
                connection.execute("PRAGMA query_only = ON")
                yield connection
        finally:
            self._free.put(ledger)


def roll_up(path: Path) -> None:
    """Add up the hours that nobody has added up yet, in short transactions. Where that fails, questions take longer."""
    ledger = Ledger(path, max_age_days=None, max_bytes=None)
    try:
        while ledger.roll_up(_HOURS_AT_ONCE) == _HOURS_AT_ONCE:
            pass
    except LedgerError as error:
        _log.warning("the hours of the ledger are not added up, so that the page takes longer: %s", error)
    finally:
        ledger.close()
