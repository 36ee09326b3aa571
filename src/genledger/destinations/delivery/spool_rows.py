"""How the spool's requests lie in its file: the tables, and one request in a row.

The upper bits of `id` are of the destination, so that its rows are side by side, oldest first, without an index that a
durable call would pay for; the lower ones are when the row was put there, in microseconds since the epoch. `size` is
that of the request, `bytes` that of `body`, which is compressed if that is less. One that is `alone` was sent before,
and is sent again as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import suppress
from sqlite3 import Connection
from typing import NamedTuple

LARGEST_BATCH = 16 * 1024 * 1024
"""Bytes of a request before compression. No receiver takes as much; a larger one is neither written nor read."""

TABLES = (
    "CREATE TABLE IF NOT EXISTS waiting (id INTEGER PRIMARY KEY, destination TEXT NOT NULL, owner INTEGER NOT NULL, "
    "spans INTEGER NOT NULL, size INTEGER NOT NULL, bytes INTEGER NOT NULL, alone INTEGER NOT NULL, "
    "checksum INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS units (destination TEXT, month TEXT, units INTEGER, PRIMARY KEY (destination, month))",
)

OURS = "id >= ? AND id < ? AND destination = ?"
"""The condition for the rows of one destination; its parameters are those of `range_of`, and its name."""

PLACES = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT = f"INSERT INTO waiting VALUES {PLACES}"

_TIME_BITS = 52

Values = tuple[str | bytes | int, ...]
"""A row but for its id."""


class SpoolRow(NamedTuple):
    """A row but for its destination, which is known, and its body, which is read when it is sent."""

    id: int
    owner: int
    spans: int
    size: int
    bytes: int
    alone: bool
    checksum: int


def range_of(destination: str) -> tuple[int, int]:
    """Return the first id of a destination, and the first beyond."""
    first = zlib.crc32(destination.encode()) >> 22 << _TIME_BITS
    return first, first + (1 << _TIME_BITS)


def values_of(destination: str, owner: int, data: bytes, body: bytes, spans: int, alone: bool) -> Values:
    """Return the row of a request, whose body may be compressed."""
    return destination, owner, spans, len(data), len(body), alone, zlib.crc32(body), body


def compress(data: bytes) -> bytes:
    """Return a request as it lies in its row: compressed, if that is less."""
    return min(zlib.compress(data, 1), data, key=len)


def listed(rows: Iterable[int]) -> str:
    """Return ids as a list in SQL.

    One statement for all of them: the interpreter is given away for each, and with many busy threads the wait for it
    is long.
    """
    return ", ".join(map(str, rows))


def deleting(rows: Iterable[int]) -> str:
    """Return the statement that removes rows."""
    return f"DELETE FROM waiting WHERE id IN ({listed(rows)})"


def read_request(connection: Connection, row: SpoolRow) -> bytes | None:
    """Return the request in a row; `None` when it is damaged, or larger than we write."""
    if max(row.size, row.bytes) > LARGEST_BATCH:
        return None
    found = connection.execute("SELECT body FROM waiting WHERE id = ? AND length(body) = ?", (row.id, row.bytes))
    (body,) = found.fetchone() or (b"",)
    if len(body) != row.bytes or zlib.crc32(body) != row.checksum:
        return None
    if row.bytes == row.size:
        return bytes(body)
    inflate = zlib.decompressobj()
    with suppress(zlib.error):
        data = inflate.decompress(body, row.size)
        if len(data) == row.size and inflate.eof:
            return data
    return None
