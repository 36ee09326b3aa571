"""Spans on disk from the moment they end until they are delivered or spooled: the write-ahead of durable mode.

Each process appends to a segment of its own, which it holds a lock on. When the process dies, the lock
goes, and any other process of the destination takes the segment's unsettled spans over. What is on disk
when `append` returns survives the death of the process (`kill -9`), and with `fsync` that of the machine.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genledger.destinations.delivery.ownership import is_own_directory, own_directory
from genledger.destinations.delivery.spool import lock, lock_descriptor, read_all, unlock, write_all
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock

_RECORD = struct.Struct("<cIII")
_SPAN, _SETTLED = b"S", b"A"
_RANGE = struct.Struct("<II")
_SUFFIX = ".journal"
SEGMENT_BYTES = 16 * 1024 * 1024
"""Bytes after which a process begins a new segment."""


class _Segment:
    """One file: spans, and which of them are settled."""

    def __init__(self, path: Path, fsync: bool) -> None:
        self.path = path
        self.unsettled = 0
        self.sealed = False
        self.size = 0
        self._fsync = fsync
        self._next = 0
        # Under its own name only once it is locked: to others, an unlocked segment is a dead process's.
        unfinished = path.with_suffix(".new")
        self.descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        lock_descriptor(self.descriptor)
        os.rename(unfinished, path)

    def append(self, data: bytes) -> int:
        number = self._next
        self._write(_SPAN, number, data)
        self._next += 1
        self.unsettled += 1
        return number

    def settle(self, numbers: Sequence[int]) -> None:
        self.unsettled -= len(numbers)
        if self.unsettled == 0:
            # Nothing here matters any more; the file starts anew.
            os.ftruncate(self.descriptor, 0)
            self.size = 0
            return
        self._write(_SETTLED, 0, b"".join(_RANGE.pack(first, last) for first, last in _runs(numbers)))

    def _write(self, kind: bytes, number: int, data: bytes) -> None:
        start = self.size
        record = _RECORD.pack(kind, number, len(data), zlib.crc32(data)) + data
        try:
            write_all(self.descriptor, record)
            if self._fsync:
                os.fsync(self.descriptor)
        except OSError:
            # Half a record would hide those after it.
            os.ftruncate(self.descriptor, start)
            raise
        self.size = start + len(record)

    def close(self) -> None:
        if self.unsettled == 0:
            self.path.unlink(missing_ok=True)
        unlock(self.descriptor)


@dataclass(slots=True, frozen=True)
class Ticket:
    """The place of one span in the journal."""

    segment: _Segment
    number: int


class Journal:
    """The write-ahead log of one destination.

    `lost` counts spans that could not be read back: `journal_corrupt`.

    Args:
        directory: Where the segments are; shared by all processes of the destination.
        fsync: Whether `append` waits for the disk itself, so that a power loss loses nothing either.
        clock: The time that segments are named after.
    """

    def __init__(self, directory: Path, *, fsync: bool = False, clock: Clock = SYSTEM_CLOCK) -> None:
        self.directory = directory
        self.lost: Counter[str] = Counter()
        self._fsync = fsync
        self._clock = clock
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._segments: list[_Segment] = []

    def append(self, data: bytes) -> Ticket:
        """Put one serialized trace request of a single span on disk.

        Raises:
            OSError: The disk did not take it.
        """
        with self._lock:
            segment = self._segment
            if segment is None or segment.size > SEGMENT_BYTES:
                segment = self._begin()
            return Ticket(segment, segment.append(data))

    def settle(self, tickets: Sequence[Ticket]) -> None:
        """These spans are safe elsewhere. Never raises: at worst they are delivered once more."""
        by_segment: dict[int, tuple[_Segment, list[int]]] = {}
        for ticket in tickets:
            by_segment.setdefault(id(ticket.segment), (ticket.segment, []))[1].append(ticket.number)
        with self._lock:
            for segment, numbers in by_segment.values():
                if segment not in self._segments:
                    continue
                try:
                    segment.settle(sorted(numbers))
                except OSError:
                    pass
                if segment.sealed and segment.unsettled == 0:
                    self._segments.remove(segment)
                    segment.close()

    def leftovers(self) -> bool:
        """Return whether there are segments of dead processes."""
        for path in self._others():
            descriptor = lock(str(path))
            if descriptor is not None:
                unlock(descriptor)
                return True
        return False

    def rescued(self, limit: int) -> Iterator[tuple[bytes, int, Callable[[], None]]]:
        """Yield what dead processes left: serialized requests of about `limit` bytes, each with its spans.

        The third value is to be called when the request is safe; the segment goes with the last of them.
        """
        for path in list(self._others()):
            descriptor = lock(str(path))
            if descriptor is None:
                continue
            try:
                yield from self._requests(path, read_all(descriptor), limit)
            except OSError:
                pass
            finally:
                unlock(descriptor)

    def _requests(self, path: Path, content: bytes, limit: int) -> Iterator[tuple[bytes, int, Callable[[], None]]]:
        spans = self._unsettled(content)
        groups: list[list[bytes]] = [[]]
        size = 0
        for data in spans:
            if size + len(data) > limit and groups[-1]:
                groups.append([])
                size = 0
            groups[-1].append(data)
            size += len(data)
        waiting = len(groups)

        def done() -> None:
            nonlocal waiting
            waiting -= 1
            if waiting == 0:
                path.unlink(missing_ok=True)

        for group in groups:
            if group:
                # Serialized messages of one type, one after the other, are that message with all their parts.
                yield b"".join(group), len(group), done
            else:
                done()

    def _unsettled(self, content: bytes) -> list[bytes]:
        spans: dict[int, bytes] = {}
        position = 0
        while position + _RECORD.size <= len(content):
            kind, number, length, checksum = _RECORD.unpack_from(content, position)
            data = content[position + _RECORD.size : position + _RECORD.size + length]
            if kind not in (_SPAN, _SETTLED) or len(data) < length:
                # The last record of a process that died while writing it: its span never ended.
                break
            position += _RECORD.size + length
            if zlib.crc32(data) != checksum:
                self.lost["journal_corrupt"] += kind == _SPAN
            elif kind == _SPAN:
                spans[number] = data
            else:
                for first, last in _RANGE.iter_unpack(data):
                    for settled in range(first, last + 1):
                        spans.pop(settled, None)
        return list(spans.values())

    def _others(self) -> Iterator[Path]:
        own = {segment.path for segment in self._segments}
        try:
            if not is_own_directory(self.directory):
                return
            for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
                if path not in own:
                    yield path
        except OSError:
            return

    def _begin(self) -> _Segment:
        own_directory(self.directory)
        former = self._segment
        self._segment = _Segment(
            self.directory / f"{self._clock.wall_ns():020d}-{os.getpid():x}{secrets.token_hex(4)}{_SUFFIX}",
            self._fsync,
        )
        self._segments.append(self._segment)
        if former is not None:
            former.sealed = True
            if former.unsettled == 0:
                self._segments.remove(former)
                former.close()
        return self._segment

    def close(self) -> None:
        """Let go of the segments; what is unsettled in them is for the next process."""
        with self._lock:
            for segment in self._segments:
                segment.close()
            self._segments.clear()
            self._segment = None

    def forget(self) -> None:
        """In a forked child: the segments are the parent's. Its lock must not live on in this process."""
        for segment in self._segments:
            os.close(segment.descriptor)
        self._segments.clear()
        self._segment = None
        self._lock = threading.Lock()
        self.lost.clear()


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as first and last of each unbroken run."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
