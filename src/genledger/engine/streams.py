"""Streams: every one settles exactly once, and the application gets the very object it would have had.

A stream's inner iterator is replaced by one that also passes each chunk to a `StreamRecorder`; the object around it
stays. What the application can do to a stream ends in one of four ways, and each reaches the same `StreamRecorder`:
the iterator ends or fails, the response body is closed, or the iterator is garbage-collected.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from itertools import islice
from typing import Any

from genledger.engine.call import Call
from genledger.engine.operation import Received, StreamAccumulator
from genledger.engine.outcome import ErrorEvent
from genledger.shared import internal_errors
from genledger.shared.after_fork import run_after_fork
from genledger.shared.at_exit import run_at_exit

_BATCH = 16
"""Chunks that are kept before they are folded together: enough to be cheap, and so few that the interpreter makes
the next chunks from the memory of the last. The first batches of a stream are smaller, see `StreamRecorder.asks`."""


_open: weakref.WeakSet[Any] = weakref.WeakSet()
run_after_fork(_open.clear)  # what the parent opened is the parent's to settle


def watch(one: Any) -> None:
    """Settle a stream at the end of the process, by its method `closed`, if it is still open then."""
    run_at_exit(finish_open, stage="settle")
    _open.add(one)


def finish_open() -> None:
    """Settle every stream that is still open: the process ends, and nobody will read on."""
    for one in list(_open):
        try:
            one.closed()
        except Exception as error:
            internal_errors.report("ending a stream", error)


class StreamRecorder:
    """One stream being read by the application."""

    __slots__ = (
        *("__weakref__", "_asked", "_batch", "_call", "_chunks", "_gathering", "_room", "_source", "add", "stamps"),
    )

    def __init__(self, call: Call, accumulator: StreamAccumulator) -> None:
        self._call = call
        self._gathering = accumulator
        self._chunks: list[Any] = []
        self.add = self._chunks.append
        self.stamps: list[float] = []
        self._asked: dict[int, float] = {}
        call.stamps = self.stamps
        watch(self)
        self._source: weakref.ref[Any] | None = None
        self._batch = self._room = 1

    def reads_from(self, source: Any) -> None:
        """Remember, without keeping it alive, the iterator that the application reads."""
        self._source = weakref.ref(source)

    def closed(self) -> None:
        """The response body has been closed: by the application, unless the stream itself is just ending."""
        try:
            source = self._source() if self._source is not None else None
            ending = source is not None and getattr(source, "gi_running", False)
        except Exception as fault:
            internal_errors.report("ending a stream", fault)
            ending = False
        if not ending:
            self.finish(cut=True)

    def asks(self) -> None:
        """Note that the application asks for the next chunk.

        Not with every chunk, to be cheap: at the beginning of each batch is enough to see later when the
        application had last waited, and had not let chunks wait that were there.
        """
        try:
            self._asked[len(self.stamps)] = time.perf_counter()
        except Exception as fault:
            internal_errors.report("recording a chunk", fault)

    def waits(self) -> None:
        """Note that the next chunk is asked for, by who hands over one at a time."""
        try:
            if self._room == self._batch:
                self.asks()
        except Exception as fault:
            internal_errors.report("recording a chunk", fault)

    def take(self, chunk: Any) -> None:
        """Take in the chunk that came."""
        try:
            self.add(chunk)
            self.stamps.append(time.perf_counter())
            self._room -= 1
            if not self._room:
                self.fold()
                self._batch = self._room = min(2 * self._batch, _BATCH)
        except Exception as fault:
            internal_errors.report("recording a chunk", fault)

    def fold(self) -> None:
        """Put the chunks received so far together."""
        chunks = self._chunks
        if not chunks:
            return
        try:
            self._gathering.fold(chunks)
        except Exception as error:
            internal_errors.report("recording a chunk", error)
        del chunks[:]

    def finish(self, error: BaseException | None = None, *, cut: bool = False) -> None:
        """Settle the call with what has been received."""
        call = self._call
        try:
            if call.settled:
                return
            self.fold()
            if self.stamps:
                call.first_chunk = self.stamps[0]
            elif error is not None:
                call.settle(error=error)  # it failed before anything came, as a call that does not stream does
                return
            accumulator = self._gathering
            complete = accumulator.complete
            if complete is None:  # then the end of the stream is the mark
                complete = error is None and not cut
            call.settle(
                accumulator.response(),
                error=error,
                cut=cut and not complete,
                complete=complete,
                received=None if accumulator.counted else self._received(error, complete),
            )
        except Exception as fault:
            internal_errors.report("recording the stream", fault)
            call.settle(error=error, cut=cut)

    def _received(self, error: BaseException | None, complete: bool) -> Received:
        stamps = self.stamps
        length, generating = self._gathering.text_length(), not complete and not isinstance(error, ErrorEvent)
        if not stamps:
            return Received(length, 0, generating)
        level = self._level()
        seconds, since = stamps[level - 1] - stamps[0], time.perf_counter() - stamps[level - 1]
        return Received(length, len(stamps), generating, level, seconds, since)

    def _level(self) -> int:
        """How many chunks had come when the application had last waited for one, and so had all that there was.

        It waited for a chunk if that took longer to come than the application had kept it from being asked for.
        """
        stamps = self.stamps
        for index, asked in reversed(self._asked.items()):
            if 0 < index < len(stamps) and stamps[index] - asked > asked - stamps[index - 1]:
                return index + 1
        return 1


def iterate(
    source: Iterator[Any], recording: StreamRecorder, hide: Callable[[Any], bool] | None
) -> Generator[Any, None, None]:
    """Pass chunks on to the application.

    The generator is started before it is handed out (its first item is not a chunk), so that dropping it
    unread ends the call too.
    """
    add = recording.add
    stamp = recording.stamps.append
    clock = time.perf_counter
    room = 1
    try:
        yield None
        while True:
            before = len(recording.stamps)
            recording.asks()
            for chunk in islice(source, room):
                add(chunk)
                stamp(clock())
                if hide is None or not hide(chunk):
                    yield chunk
            if len(recording.stamps) - before < room:
                break
            recording.fold()
            if room < _BATCH:
                room *= 2
    except GeneratorExit:
        recording.finish(cut=True)
        raise
    except BaseException as error:
        recording.finish(error)
        raise
    recording.finish()


def iterated(
    source: Iterator[Any], recording: StreamRecorder, hide: Callable[[Any], bool] | None = None
) -> Generator[Any, None, None]:
    """A started `iterate`."""
    generator = iterate(source, recording, hide)
    next(generator)
    recording.reads_from(generator)
    return generator


class AsyncStreamIterator:
    """Passes the chunks of an asynchronous stream on to the application."""

    __slots__ = ("__weakref__", "_hide", "_next", "_reading", "_source", "gi_running")

    def __init__(
        self, source: AsyncIterator[Any], recording: StreamRecorder, hide: Callable[[Any], bool] | None = None
    ) -> None:
        self._source = source
        self._next = source.__anext__
        self._reading = recording
        self._hide = hide
        self.gi_running = False
        recording.reads_from(self)

    def __aiter__(self) -> AsyncStreamIterator:
        return self

    async def __anext__(self) -> Any:
        recording = self._reading
        while True:
            recording.waits()
            self.gi_running = True
            try:
                chunk = await self._next()
            except StopAsyncIteration:
                recording.finish()
                raise
            except BaseException as error:
                recording.finish(error)
                raise
            finally:
                self.gi_running = False
            recording.take(chunk)
            if self._hide is None or not self._hide(chunk):
                return chunk

    async def aclose(self) -> None:
        """End the call, then the source."""
        self._reading.finish(cut=True)
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    def __del__(self) -> None:
        self._reading.finish(cut=True)
