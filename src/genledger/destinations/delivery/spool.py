"""BatchJobs kept on disk until their receiver takes them.

One directory per receiver, one file per batch. A file is written under another name and renamed, so that a
reader sees all of it or nothing; its checksum tells when that was not enough. Several processes may share a
directory: who sends a file holds a lock on it, which the system releases when the process dies. What others than
this user can have written is neither sent nor removed.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
import time
import zlib
from collections import Counter, deque
from itertools import count
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl

    CAN_LOCK = True
except ImportError:
    CAN_LOCK = False


from genledger.destinations.delivery.ownership import is_own_directory, is_own_file, open_own, own_directory
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock

LARGEST_BATCH = 16 * 1024 * 1024
"""Bytes of a batch before compression. No receiver takes as much; a larger one is neither written nor read."""

_HEADER = struct.Struct("<4sII")
_MAGIC = b"GLS1"
_BATCH = ".batch"
_SET_ASIDE = ".corrupt"
_LISTING_S = 10.0
_UNFINISHED_NS = 3600 * 10**9


class Kept(NamedTuple):
    """A batch on disk that this process holds the lock of."""

    path: Path
    descriptor: int
    data: bytes
    spans: int


class _Name(NamedTuple):
    """Parsed name of a file: `<created, ns>-<process>-<number>-<spans>-<bytes>.batch`."""

    path: str
    created_ns: int
    process: str
    spans: int
    size: int

    @classmethod
    def parse(cls, path: str) -> _Name | None:
        stem, dot, suffix = os.path.basename(path).partition(".")
        parts = stem.split("-")
        if f"{dot}{suffix}" not in (_BATCH, _SET_ASIDE) or len(parts) != 5 or not parts[0].isdigit():
            return None
        try:
            return cls(path, int(parts[0]), parts[1], int(parts[3]), int(parts[4]))
        except ValueError:
            return None


class Spool:
    """BatchJobs of one receiver on disk, bounded by bytes and by age; the oldest goes first.

    Every method but `put` and `keep` answers for itself when the disk does not: a spool never raises into delivery.
    `lost` counts spans by what became of them: `spool_full`, `spool_expired`, `spool_corrupt`.

    Args:
        directory: Where the files are; made when first needed, readable by the owner only.
        max_bytes: Bytes that the files of this directory may have together.
        max_age_s: Seconds after which a batch that its receiver still does not take is dropped.
        clock: Whose time the age is measured in.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        max_age_s: float = 7 * 86_400.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.directory = directory
        self.lost: Counter[str] = Counter()
        self._max_bytes = max_bytes
        self._max_age_ns = int(max_age_s * 1e9)
        self._clock = clock
        self._numbers = count()
        self._listed: deque[_Name] = deque()
        self._listed_at = float("-inf")
        self._bytes = 0
        self._lock = threading.Lock()
        self._held: dict[Path, Kept] = {}
        self._stuck: set[str] = set()
        self._process = f"{os.getpid():x}{secrets.token_hex(4)}"

    def put(self, data: bytes, spans: int) -> None:
        """Keep one batch, to be sent later by this process or another.

        Raises:
            OSError: The disk is full, read-only or not there, others can write to the directory, or the batch is
                larger than the bound.
        """
        self.release(self.keep(data, spans))

    def keep(self, data: bytes, spans: int) -> Kept:
        """Keep one batch for as long as this process is at it: claimed, so that nobody else sends it meanwhile.

        Raises:
            OSError: As for `put`.
        """
        if len(data) > LARGEST_BATCH:
            raise OSError(f"a batch of {len(data)} bytes is larger than any receiver takes")
        own_directory(self.directory)
        payload = zlib.compress(data, 1)
        size = _HEADER.size + len(payload)
        if size > self._max_bytes:
            raise OSError(f"a batch of {size} bytes does not fit in a spool of {self._max_bytes}")
        with self._lock:
            self._make_room(size)
        name = f"{self._clock.wall_ns():020d}-{self._process}-{next(self._numbers)}-{spans}-{size}"
        unfinished = self.directory / f"{name}.tmp"
        path = self.directory / f"{name}{_BATCH}"
        descriptor = None
        try:
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            write_all(descriptor, _HEADER.pack(_MAGIC, zlib.crc32(payload), spans) + payload)
            lock_descriptor(descriptor)
            os.rename(unfinished, path)
        except OSError:
            if descriptor is not None:
                os.close(descriptor)
            unfinished.unlink(missing_ok=True)
            raise
        kept = Kept(path, descriptor, data, spans)
        with self._lock:
            self._bytes += size
            self._held[path] = kept
        return kept

    def claim(self, *, own: bool = False) -> Kept | None:
        """The oldest batch (with `own`, that this process has put here) that no other process is sending, if any."""
        with self._lock:
            self._list()
            passed: list[_Name] = []
            kept = None
            while self._listed and kept is None:
                name = self._listed.popleft()
                if own and name.process != self._process:
                    passed.append(name)
                elif name.path.endswith(_BATCH):
                    kept = self._open(name)
            self._listed.extendleft(reversed(passed))
            return kept

    def done(self, kept: Kept) -> None:
        """The batch needs no keeping any more."""
        with self._lock:
            if self._held.pop(kept.path, None) is not None:
                self._unlink(kept.path)
                self._bytes -= os.fstat(kept.descriptor).st_size
                unlock(kept.descriptor)

    def release(self, kept: Kept) -> None:
        """Give a claimed batch back, to be sent later by this process or another."""
        with self._lock:
            name = _Name.parse(str(kept.path))
            if name is None or self._held.pop(kept.path, None) is None:
                return
            if self._listed and self._listed[-1].path < name.path:
                self._listed.append(name)
            else:
                self._listed.appendleft(name)
            unlock(kept.descriptor)

    def pending(self) -> tuple[int, int]:
        """BatchJobs on disk that nobody is known to be sending, and their bytes."""
        with self._lock:
            self._list()
            batches = [name for name in self._listed if name.path.endswith(_BATCH)]
            return len(batches), sum(name.size for name in batches)

    def spans(self) -> int:
        """Spans in those batches."""
        with self._lock:
            self._list()
            return sum(name.spans for name in self._listed if name.path.endswith(_BATCH))

    def expire(self) -> None:
        """Drop what is older than the bound. Asked only while the receiver does not take anything.

        A batch is therefore never dropped for its age before it was tried, whatever the clock says.
        """
        with self._lock:
            self._list()
            oldest = self._clock.wall_ns() - self._max_age_ns
            while self._listed and self._listed[0].created_ns < oldest:
                self._drop(self._listed.popleft(), "spool_expired")

    def forget(self) -> None:
        """In a forked child: let go of what the parent is sending, without unlocking it."""
        for kept in self._held.values():
            os.close(kept.descriptor)
        self._held.clear()
        self._listed.clear()
        self._listed_at = float("-inf")
        self._lock = threading.Lock()
        self._process = f"{os.getpid():x}{secrets.token_hex(4)}"
        self.lost.clear()

    def _make_room(self, size: int) -> None:
        self._list()
        while self._listed and self._bytes + size > self._max_bytes:
            self._drop(self._listed.popleft(), "spool_full")

    def _drop(self, name: _Name, reason: str) -> None:
        descriptor = lock(name.path)
        if descriptor is None:
            return
        self._unlink(Path(name.path))
        self._bytes -= name.size
        if name.path.endswith(_BATCH):
            self.lost[reason] += name.spans
        unlock(descriptor)

    def _list(self) -> None:
        now = self._clock.now()
        if now - self._listed_at < _LISTING_S:
            return
        self._listed_at = now
        names: list[_Name] = []
        for path in self._paths():
            if path.endswith((".tmp", ".new")):
                self._clear_unfinished(path)
            elif (name := _Name.parse(path)) is not None and path not in self._stuck:
                try:
                    status = os.lstat(path)
                except OSError:
                    continue  # another process has just sent it
                if is_own_file(status, path):
                    names.append(name._replace(size=status.st_size))
        self._bytes = sum(name.size for name in names)
        self._listed = deque(sorted(name for name in names if Path(name.path) not in self._held))

    def _paths(self) -> list[str]:
        try:
            if is_own_directory(self.directory):
                return [str(self.directory / name) for name in os.listdir(self.directory)]
        except OSError:
            pass
        return []

    def _clear_unfinished(self, path: str) -> None:
        try:
            if time.time_ns() - os.lstat(path).st_mtime_ns > _UNFINISHED_NS:
                os.unlink(path)
        except OSError:
            pass

    def _open(self, name: _Name) -> Kept | None:
        descriptor = lock(name.path)
        if descriptor is None:
            return None
        try:
            data, spans = _read(descriptor)
        except (OSError, ValueError, struct.error, zlib.error):
            self.lost["spool_corrupt"] += name.spans
            try:
                os.rename(name.path, name.path.removesuffix(_BATCH) + _SET_ASIDE)
            except OSError:
                pass
            unlock(descriptor)
            return None
        kept = Kept(Path(name.path), descriptor, data, spans)
        self._held[kept.path] = kept
        return kept

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            # The disk has become read-only. The file stays; this process must not send it over and over.
            self._stuck.add(str(path))


def _read(descriptor: int) -> tuple[bytes, int]:
    """The data of a batch, and its spans.

    Raises:
        ValueError, struct.error, zlib.error: It is damaged, or holds more than we write.
    """
    if os.fstat(descriptor).st_size > _HEADER.size + LARGEST_BATCH + LARGEST_BATCH // 1000 + 64:
        raise ValueError("size")
    content = read_all(descriptor)
    magic, checksum, spans = _HEADER.unpack_from(content)
    payload = memoryview(content)[_HEADER.size :]
    if magic != _MAGIC or zlib.crc32(payload) != checksum:
        raise ValueError("checksum")
    inflate = zlib.decompressobj()
    data = inflate.decompress(payload, LARGEST_BATCH + 1)
    if len(data) > LARGEST_BATCH or not inflate.eof:
        raise ValueError("size")
    return data, spans


def lock(path: str) -> int | None:
    """Open and lock a file; `None` when it is gone, unreadable, not ours alone, or another process's."""
    try:
        descriptor = open_own(path)
    except OSError:
        return None
    try:
        lock_descriptor(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def lock_descriptor(descriptor: int) -> None:
    """Lock an open file until it is unlocked, or closed in all processes that have it.

    Raises:
        OSError: Another process holds the lock.
    """
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def unlock(descriptor: int) -> None:
    """Unlock and close a file. Closing alone would not do if the process has forked since the file was opened."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """The whole content of an open file."""
    size = os.fstat(descriptor).st_size
    pieces = []
    while size > 0:
        piece = os.read(descriptor, size)
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`.

    Raises:
        OSError: The disk did not take it all.
    """
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
