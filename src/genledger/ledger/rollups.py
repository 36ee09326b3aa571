"""Hourly sums of calls, so that a question about months need not read every call.

An hour is either in `unrolled`, and its rollups are not used, or its rollups are what its calls add up to. Whoever
writes, changes or removes a call puts its hour into `unrolled` in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from genledger.ledger.fields import FIELDS, SUMS
from genledger.ledger.grains import HOUR_NS

ROLLED = tuple(name for name, field in FIELDS.items() if field.rolled)
"""The fields that rollups keep apart."""


def note_changes(connection: sqlite3.Connection, started_ns: Iterable[int]) -> None:
    """Note that calls which started at these times are new, changed or gone."""
    hours = {ns // HOUR_NS for ns in started_ns}
    connection.executemany("INSERT OR IGNORE INTO unrolled VALUES (?)", [(hour,) for hour in hours])


def note_removal(connection: sqlite3.Connection, last_ns: int) -> None:
    """Note that the calls up to a time are gone."""
    last = last_ns // HOUR_NS
    connection.execute("DELETE FROM rollups WHERE hour < ?", (last,))
    connection.execute("DELETE FROM unrolled WHERE hour < ?", (last,))
    note_changes(connection, (last_ns,))


def unrolled(connection: sqlite3.Connection, before_ns: int, most: int) -> list[int]:
    """Return the hours that ended before a time and are not rolled up, oldest first, at most so many."""
    last = before_ns // HOUR_NS
    rows = connection.execute("SELECT hour FROM unrolled WHERE hour < ? ORDER BY hour LIMIT ?", (last, most))
    return [row[0] for row in rows]


def roll_up(connection: sqlite3.Connection, hour: int) -> None:
    """Add up the calls of an hour, in the transaction of the connection."""
    columns = ", ".join(("hour", *ROLLED, *SUMS))
    fields = ", ".join(f"{FIELDS[name].expression} AS {name}" for name in ROLLED)
    sums = ", ".join(f"sum({expression}) AS {name}" for name, expression in SUMS.items())
    connection.execute("DELETE FROM rollups WHERE hour = ?", (hour,))
    connection.execute(
        f"""
        INSERT INTO rollups ({columns}) SELECT started_ns / {HOUR_NS}, {fields}, {sums} FROM calls
        WHERE started_ns >= ? AND started_ns < ?
        GROUP BY {", ".join(str(number) for number in range(1, len(ROLLED) + 2))}
        """,
        (hour * HOUR_NS, (hour + 1) * HOUR_NS),
    )
    connection.execute("DELETE FROM unrolled WHERE hour = ?", (hour,))
