"""Who of those that write to a file still lives: each has a lock on one byte of another file beside it.

The system releases the lock when the process ends, however it ends; no clock and no heartbeat is needed.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from genledger.shared.private_files import FILE_MODE

try:
    import fcntl

    def _lock_byte(descriptor: int, position: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, position)

    def _unlock_byte(descriptor: int, position: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, position)

except ImportError:
    import msvcrt

    def _lock_byte(descriptor: int, position: int) -> None:
        os.lseek(descriptor, position, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]

    def _unlock_byte(descriptor: int, position: int) -> None:
        os.lseek(descriptor, position, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]


class Liveness:
    """One of those that write to a file. A forked child is another one, and needs an object of its own.

    Args:
        path: The file of the locks. It is made when missing, and never removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.token = secrets.randbits(31)  # as far as Windows can seek
        """What others know this one by."""

    def begin(self) -> None:
        """Live, until `end` or the end of the process. Harmless when begun already.

        Raises:
            OSError: The file cannot be made or locked.
        """
        with _lock:
            _lock_byte(_open(self._path), self.token)
            _living.add((self._path, self.token))

    def end(self) -> None:
        """Live no longer."""
        with _lock, suppress(OSError):
            if (self._path, self.token) in _living:
                _living.remove((self._path, self.token))
                _unlock_byte(_open(self._path), self.token)

    def lives(self, token: int) -> bool:
        """Whether another one lives, in this process or another. In doubt, it does."""
        with _lock:
            if (self._path, token) not in _living:
                with suppress(OSError):
                    descriptor = _open(self._path)
                    _lock_byte(descriptor, token)
                    _unlock_byte(descriptor, token)
                    return False
            return True


# These locks belong to a process, and all of them go when it closes the file: it is opened once, and stays open.

_lock = threading.Lock()
_descriptors: dict[str, int] = {}
_living: set[tuple[str, int]] = set()


def _open(path: str) -> int:
    descriptor = _descriptors.get(path)
    if descriptor is not None:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(_descriptors.pop(path))
    descriptor = _descriptors[path] = os.open(path, os.O_RDWR | os.O_CREAT, FILE_MODE)
    for other, token in _living:
        if other == path:
            _lock_byte(descriptor, token)
    return descriptor


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    _living.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
