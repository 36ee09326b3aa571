"""Whose turn it is at a file that several processes write: first come, first served.

SQLite lets whoever looks at the right moment write next, and those who wait look ever more rarely. A process
that writes all the time then keeps the others out for many seconds.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genledger.shared.private_files import FILE_MODE

try:
    import fcntl

    CAN_LOCK = True
except ImportError:
    CAN_LOCK = False

_WAITER = struct.Struct("<dd")
_LOOK_EVERY_S = 0.001
_LEFT_AFTER_S = 0.25


class Turn:
    """One turn. Whoever has it may leave a note for whoever has the next one."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def read_note(self, size: int) -> bytes:
        """Return the note of the last turn: at most `size` bytes, fewer where none was left."""
        return b"" if self._descriptor is None else os.pread(self._descriptor, size, _WAITER.size)

    def leave_note(self, note: bytes) -> None:
        """Leave a note; each has the same size."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, note, _WAITER.size)


class Turns:
    """The queue of the processes and threads that share a file, by a lock on another one beside it.

    The lock is the system's and ends with the process that has it. The lock file names the one who has waited
    longest (when it came, and when it last looked), and those who came later let it go first. One who dies or
    is stopped while it waits no longer looks, and loses its place within a quarter of a second. So nobody waits
    for longer than the turns of those who were there before.

    Where files cannot be locked (Windows, a directory of another user), everyone has a turn at once. What is
    shared must then be safe without turns.

    Args:
        path: The lock file. It is made when missing, and never removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._came: float | None = None

    @contextmanager
    def take(self, timeout_s: float) -> Iterator[Turn]:
        """Wait for a turn, and have it until the end of the block. One thread of an object at a time.

        Raises:
            TimeoutError: Another process has had its turn for too long. The place in the queue is kept.
        """
        descriptor = self._wait(time.monotonic() + timeout_s) if CAN_LOCK else None
        try:
            yield Turn(descriptor)
        finally:
            if descriptor is not None:
                with suppress(OSError):
                    # Closing alone would not do if the process has forked meanwhile.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                _close(descriptor)

    def _wait(self, deadline: float) -> int | None:
        while True:
            try:
                descriptor = _open(self.path)
            except OSError:
                return None
            try:
                self._reach_front(descriptor, deadline)
                if os.fstat(descriptor).st_nlink:  # nobody has removed the file meanwhile
                    return descriptor
                _close(descriptor)
            except BaseException as error:
                _close(descriptor)
                if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                    return None  # a file system without locks
                raise

    def _reach_front(self, descriptor: int, deadline: float) -> None:
        if self._came is None:
            self._came = time.monotonic()
        mine = self._came
        while True:
            now = time.monotonic()
            first, looked = _waiter(descriptor)
            if first >= mine or not 0 <= now - looked < _LEFT_AFTER_S:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.pwrite(descriptor, _WAITER.pack(mine, now), 0)
                else:
                    if first == mine:
                        os.pwrite(descriptor, _WAITER.pack(0.0, 0.0), 0)
                    self._came = None
                    return
            if now > deadline:
                raise TimeoutError("is locked")
            time.sleep(_LOOK_EVERY_S)


def _waiter(descriptor: int) -> tuple[float, float]:
    content = os.pread(descriptor, _WAITER.size, 0)
    return _WAITER.unpack(content) if len(content) == _WAITER.size else (0.0, 0.0)


# A child has its parent's lock files open, too. Were they left open there, a lock would outlive the parent.

_descriptors: set[int] = set()
_descriptors_lock = threading.Lock()


def _open(path: Path) -> int:
    with _descriptors_lock:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
        _descriptors.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    with _descriptors_lock:
        if descriptor in _descriptors:  # not one of a parent process
            _descriptors.remove(descriptor)
            os.close(descriptor)


def _after_fork_in_child() -> None:
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _descriptors_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_descriptors_lock.acquire,
        after_in_parent=_descriptors_lock.release,
        after_in_child=_after_fork_in_child,
    )
