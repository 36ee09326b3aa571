"""What a shared SQLite file raises, and what SQLite's own errors say of it. https://www.sqlite.org/rescode.html"""

from __future__ import annotations

import sqlite3


class Unusable(sqlite3.OperationalError):
    """The file or its directory cannot be used; the cause is an `OSError`."""


class Locked(sqlite3.OperationalError):
    """Another process has had its turn for too long."""


class Damaged(sqlite3.OperationalError):
    """The file was cut or overwritten, and stays where it is."""


class StartedOver(sqlite3.OperationalError):
    """The file was damaged or taken away. What was to be written is in no file at the path; write it again."""


def concerns_the_file(error: sqlite3.DatabaseError) -> bool:
    """Return whether the error is the file's, not that of a record that SQLite cannot hold."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) or 0


def shows_damage(error: sqlite3.DatabaseError) -> bool:
    """Return whether the error says that the file is damaged, or is no database."""
    code = _code(error)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_busy(error: sqlite3.DatabaseError) -> bool:
    """Return whether the error says that others have the file."""
    return _code(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
