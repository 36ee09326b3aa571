"""A SQLite file that threads, processes and forks write together.

What SQLite leaves to its users is here, once: who may read the file, that those who open it at the same moment
wait for each other, that every writer gets its turn, that no connection lives through a fork, and what becomes
of a file that is damaged or taken away while it is open.
"""

from __future__ import annotations

import os
import random
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple
from weakref import WeakSet

from genledger.shared.database_errors import (
    Damaged,
    Locked,
    StartedOver,
    Unusable,
    concerns_the_file,
    is_busy,
    shows_damage,
)
from genledger.shared.private_files import close_to_others, make_directory, make_file, share_like
from genledger.shared.turns import Turn, Turns

_LOG, _INDEX = "-wal", "-shm"
_BESIDE = (_LOG, _INDEX, "-journal")
_FIRST_PAGE = 512
_FORK_PATIENCE_S = 2.0
_LOG_BYTES = 4 << 20
_ASIDE = ".damaged-"
_NOTE = struct.Struct("<QQQQQ")


class Departure(NamedTuple):
    """The file that this process wrote to is no longer at its path.

    `damaged`: it was put aside, as `where`. `moved`: it has another name in the same directory, `where`.
    `removed`: it is gone, or in another directory.
    """

    reason: Literal["damaged", "moved", "removed"]
    where: Path | None


class _Note(NamedTuple):
    """State of the file and its log at the end of a turn: their inodes, and their sizes in bytes.

    That of the file is at most that of the pages in use: SQLite cuts off pages that are not. `birth` is a random
    number of the file's own, as its inode may be that of another one that was removed.
    """

    inode: int
    size: int
    log: int
    log_size: int
    birth: int


class SharedDatabase:
    """One SQLite file in WAL mode, opened on first use. Not for network file systems.

    Every writer has its turn, first come, first served, and finds a note of how the last one left the file. So
    it notices a file that was cut, replaced or removed meanwhile, also by a process that has ended since.

    Every method raises `sqlite3.OperationalError` or `sqlite3.DatabaseError` when the file cannot be used, and
    the next use opens it again.

    Args:
        path: The file. It is made when missing, like its directory, and no other user may read it.
        busy_timeout_s: How long to wait for other processes.
        examine: Looks at a file before anything in it is changed, and raises to refuse it.
        prepare: Makes or migrates the tables. Runs at every opening, perhaps more than once.
        replace_damaged: Whether to put a damaged file aside and start over. Otherwise it is refused.
        departed: Called when the file at the path is no longer the one that was written to.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float,
        examine: Callable[[sqlite3.Connection], object] = lambda connection: None,
        prepare: Callable[[sqlite3.Connection], object],
        replace_damaged: bool = False,
        departed: Callable[[Departure], None] = lambda departure: None,
    ) -> None:
        self.path = path.absolute()
        self._busy_timeout_s = busy_timeout_s
        self._examine = examine
        self._prepare = prepare
        self._replace_damaged = replace_damaged
        self._departed = departed
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._birth: int | None = None
        self._note: _Note | None = None
        self._suspect = False
        self._locate()
        with _all_lock:
            _all.add(self)

    def _locate(self) -> None:
        self._place = os.path.realpath(self.path)
        self._log = self._place + _LOG
        self._turns = Turns(Path(f"{self._place}-lock"))

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return a connection in autocommit mode, to read from. Waits for nobody once the file is open."""
        with self._lock, self._closed_by_faults():
            connection = self._opened
            if connection is None or self._strayed(_status(self.path)):
                with self._turn() as turn:
                    connection = self._current(turn, replace=False)
            yield connection

    def add(self, statement: str, values: Sequence[str | bytes | int]) -> None:
        """Run one small statement that cannot wait for its turn.

        SQLite alone keeps it apart from what others write, and that the file was cut, replaced or removed is for
        others to notice, who have their turns.

        Raises:
            sqlite3.Error: As for `writing`.
        """
        with self._lock, self._closed_by_faults():
            connection = self._opened
            if connection is None:
                with self._turn() as turn:
                    connection = self._current(turn, replace=True)
            connection.execute(statement, values)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Return a connection in a transaction, which is committed at the end of the block, or rolled back on an error.

        Raises:
            Locked: Another process has had its turn for too long.
            StartedOver: The file was damaged or taken away; the same may be written again at once.
            sqlite3.Error: The file cannot be used, or cannot hold what was to be written.
        """
        with self._lock, self._closed_by_faults(), self._turn() as turn:
            try:
                connection = self._current(turn, replace=True)
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    used = _used(connection)
                    # With the commit, SQLite writes to the log and perhaps to the file, which hides that they were cut.
                    self._refuse_cut(_status(self._place), _status(self._log))
                    connection.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.rollback()
                    raise
                status = _status(self.path)
                if self._strayed(status):
                    raise StartedOver("the file was taken away while it was written")
                self._refuse_cut(status, None)
                self._leave_note(turn, status, used)
            except sqlite3.DatabaseError as error:
                if self._file is not None and self._strayed(_status(self.path)) and concerns_the_file(error):
                    self._depart()
                    raise StartedOver("the file was taken away while it was written") from error
                if shows_damage(error):
                    raise self._start_over(str(error)) from error
                raise

    def close(self) -> None:
        """Close the file. Another use opens it again."""
        with self._lock:
            if self._file is None:
                return
            try:
                with self._turn() as turn:
                    # The last connection moves the log into the file. If that was cut, its size would no longer tell.
                    self._look(turn, replace=True)
                    if self._opened is not None:
                        self._empty_log(self._opened)
                        self._leave_note(turn, _status(self._place), _used(self._opened))
            except sqlite3.Error:
                # Others may keep it waiting. That the file is gone or another one shows without a turn.
                if self._file is not None and self._strayed(_status(self.path)):
                    self._depart()
            self._close()
            self._file = None

    @contextmanager
    def _turn(self) -> Iterator[Turn]:
        with ExitStack() as stack:
            try:
                if self._opened is None:
                    if os.path.realpath(self.path) != self._place:
                        self._locate()
                    make_directory(Path(self._place).parent)
                turn = stack.enter_context(self._turns.take(self._busy_timeout_s))
            except TimeoutError as error:
                raise Locked(f"database {error}") from error
            except OSError as error:
                raise Unusable(str(error)) from error
            yield turn

    @contextmanager
    def _closed_by_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            # Who waits for others keeps the file open: to be closed out of turn may take the log from a new one.
            if concerns_the_file(error) and not isinstance(error, Locked) and not is_busy(error):
                self._suspect = self._suspect or shows_damage(error)
                self._close()
            raise

    def _current(self, turn: Turn, *, replace: bool) -> sqlite3.Connection:
        self._look(turn, replace=replace)
        if self._opened is None:
            # As it is before it is opened: taken away meanwhile, it is noticed when it is written.
            file = self._make()
            self._opened = self._open()
            self._file = file
            self._leave_note(turn, _status(self._place), _used(self._opened))
        return self._opened

    def _look(self, turn: Turn, *, replace: bool) -> None:
        """See whether the file is still the one that the last turn left."""
        status, log = _status(self.path), _status(self._log)
        left = turn.read_note(_NOTE.size)
        former = _Note(*_NOTE.unpack(left)) if len(left) == _NOTE.size else self._note
        self._note = former if status is not None and former is not None and former.inode == status.st_ino else None
        # The inode of a file that was closed after a fault, and removed then, is free for another.
        reborn = self._opened is None and self._note is not None and self._note.birth != self._birth
        if self._file is not None and (self._strayed(status) or reborn):
            self._depart()
        if status is not None and (self._suspect or self._is_cut(status) or self._is_log_cut(log)):
            self._refuse_damage(replace=replace)
            self._suspect = False
            self._note = self._note and self._note._replace(size=status.st_size, log_size=0)  # it is whole
        if self._opened is None:
            # SQLite would read, or remove, the log of a file that was here before the one that is here now.
            strange = self._note is None and former is not None and log is not None and log.st_ino == former.log
            if status is None or status.st_size == 0 or strange:
                with suppress(OSError):
                    self._move(self._name_aside(), (_LOG, _INDEX))

    def _is_cut(self, status: os.stat_result) -> bool:
        """Return whether the file is smaller than before. Removing free pages also makes it smaller."""
        noted = self._note.size if self._note is not None else 0
        # In WAL mode a file has at least its first page, even if all the rest is in the log.
        return status.st_size < (noted if self._opened is None else max(noted, _FIRST_PAGE))

    def _is_log_cut(self, log: os.stat_result | None) -> bool:
        """Return whether the log is shorter than the last turn left it. Emptying it also makes it shorter."""
        note = self._note
        return log is not None and note is not None and log.st_ino == note.log and log.st_size < note.log_size

    def _refuse_cut(self, status: os.stat_result | None, log: os.stat_result | None) -> None:
        if (status is not None and self._is_cut(status)) or self._is_log_cut(log):
            self._refuse_damage(replace=True)

    def _refuse_damage(self, *, replace: bool) -> None:
        damage = self._damage()
        if damage is not None:
            raise self._start_over(damage) if replace else Damaged(damage)

    def _make(self) -> tuple[int, int]:
        try:
            make_file(Path(self._place))
            status = os.stat(self._place)
        except OSError as error:
            raise Unusable(str(error)) from error
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        # One connection serves several threads, one at a time.
        connection = sqlite3.connect(
            self._place, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
        )
        try:
            # SQLite does not wait for other connections when it changes the journal mode, among others.
            deadline = time.monotonic() + self._busy_timeout_s
            while not self._set_up(connection, deadline):
                time.sleep(random.uniform(0.001, 0.005))
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection, deadline: float) -> bool:
        try:
            self._examine(connection)
            for suffix in ("", *_BESIDE):
                close_to_others(Path(self._place + suffix))
            share_like(self._turns.path, Path(self._place))
            connection.execute("PRAGMA journal_mode = WAL")
            # In WAL mode nothing is lost when the process dies, and at most the last commits when the power does.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            self._prepare(connection)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            return False
        return True

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Move what is in the log into the file. What cannot be moved stays in the log."""
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _leave_note(self, turn: Turn, status: os.stat_result | None, used: int) -> None:
        log = _status(self._log)
        if status is not None:
            log_inode, log_size = (log.st_ino, log.st_size) if log is not None else (0, 0)
            known = self._note is not None and self._note.inode == status.st_ino
            self._birth = self._note.birth if self._note is not None and known else random.getrandbits(64)
            self._note = _Note(status.st_ino, min(status.st_size, used), log_inode, log_size, self._birth)
            turn.leave_note(_NOTE.pack(*self._note))

    def _damage(self) -> str | None:
        """Return the problem of the file, or `None`.

        Raises:
            sqlite3.Error: That cannot be told now.
        """
        status = _status(self._place)
        if status is None:
            return None
        if status.st_size < _FIRST_PAGE:
            return f"the file was cut to {status.st_size} bytes"
        try:
            # A connection of its own, because ours may have the pages that the file has lost.
            with closing(sqlite3.connect(self._place, timeout=self._busy_timeout_s)) as other:
                if self._note is not None and status.st_size < min(self._note.size, _used(other)):
                    # Its log may still have what was cut off, but is not going to be moved into it again.
                    return f"the file was cut to {status.st_size} bytes"
                found = str(other.execute("PRAGMA quick_check(1)").fetchone()[0])
                return None if found == "ok" else found.replace("\n", " ")
        except sqlite3.DatabaseError as error:
            if shows_damage(error):
                return str(error)
            raise

    def _start_over(self, damage: str) -> Damaged | StartedOver:
        """Put the damaged file aside, if it is known to be one of ours."""
        self._close()
        status = _status(self._place)
        known = status is not None and self._note is not None and status.st_ino == self._note.inode
        if not self._replace_damaged or not (known or self._file == _identity(status) is not None):
            return Damaged(damage)
        aside = self._name_aside()
        try:
            self._move(aside, ("", *_BESIDE))
        except OSError as error:
            return Damaged(f"{damage}; it cannot be moved ({error})")
        self._file, self._suspect = None, False
        self._departed(Departure("damaged", aside))
        return StartedOver(f"{damage}; it is kept as {aside}")

    def _strayed(self, status: os.stat_result | None) -> bool:
        return self._file != _identity(status)

    def _depart(self) -> None:
        """Let go of a file that is no longer at the path."""
        where = None
        if self._opened is not None and self._file is not None:
            self._empty_log(self._opened)  # it goes with the file, wherever that is
            where = self._find(self._file[1])  # nobody else has this inode as long as the file is open
        self._close()
        self._file = None
        if where is None:
            self._departed(Departure("removed", None))
        else:
            self._departed(Departure("damaged" if _ASIDE in where.name else "moved", where))

    def _find(self, inode: int) -> Path | None:
        with suppress(OSError), os.scandir(os.path.dirname(self._place)) as entries:
            for entry in entries:
                if entry.inode() == inode and not entry.is_symlink():
                    return Path(entry.path)
        return None

    def _name_aside(self) -> Path:
        stem = f"{self._place}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        aside, number = Path(stem), 1
        while aside.exists():
            number += 1
            aside = Path(f"{stem}-{number}")
        return aside

    def _move(self, to: Path, suffixes: tuple[str, ...]) -> None:
        for suffix in suffixes:
            with suppress(FileNotFoundError):
                os.replace(f"{self._place}{suffix}", f"{to}{suffix}")

    def _close(self) -> None:
        connection, self._opened = self._opened, None
        if connection is not None:
            connection.close()


def rewrite(connection: sqlite3.Connection) -> None:
    """Write a page as it is, in the transaction of `connection`: its commit shows whether the disk takes it."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.execute(f"PRAGMA user_version = {version}")


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return None if status is None else (status.st_dev, status.st_ino)


def _used(connection: sqlite3.Connection) -> int:
    """Return the bytes of all pages in use, whether they are in the file or in its log."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


# SQLite keeps its file locks in process-wide tables. A child that inherits them believes it holds locks that
# only its parent holds, even for connections of its own. So no connection is open while the process forks.

_all: WeakSet[SharedDatabase] = WeakSet()
_all_lock = threading.Lock()
_held: list[SharedDatabase] = []
_inherited: list[sqlite3.Connection] = []


def _before_fork() -> None:
    _all_lock.acquire()
    for database in _all:
        if database._lock.acquire(timeout=_FORK_PATIENCE_S):
            database._close()
            _held.append(database)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()._lock.release()
    _all_lock.release()


def _after_fork_in_child() -> None:
    for database in _all:
        if database not in _held:
            # A thread of the parent was in the middle of something for too long. Its connection is never
            # touched here again, not even to close it.
            if database._opened is not None:
                _inherited.append(database._opened)
            database._opened = None
            database._lock = threading.Lock()
    _after_fork_in_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
