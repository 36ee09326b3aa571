"""Streams that are objects of a client's own class: the application gets that very object.

Its class passes on what comes out, for the streams that are followed; it is patched when the first one is seen, so
that no list of a client's classes is needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple

import wrapt

from genledger.engine.call import Call
from genledger.engine.operation import StreamAccumulator
from genledger.engine.streams import StreamRecorder
from genledger.instrumentation.patching import Hook
from genledger.shared import internal_errors
from genledger.shared.identity_map import IdentityMap

Kept = Callable[[Any], Iterable[Any]]
"""`kept(stream)`: return the chunks that a stream received and did not hand out."""

Read = Callable[[Any], Any]
"""`read(chunk)`: return what is kept of a chunk, for a client that changes it afterwards."""

_HEAP_TYPE = 1 << 9
"""The flag of classes that are written in Python; https://docs.python.org/3/c-api/typeobj.html."""


class _Patched(NamedTuple):
    owner: type
    name: str
    original: Any
    replacement: Any


class _Reading:
    """One stream that the application reads. It ends with the stream object, if nothing else ends it before.

    It is the result of a call, and of each call around that one which gives it on as it is: the innermost is first.
    """

    __slots__ = ("__weakref__", "_kept", "_read", "_recorders", "gi_running")

    def __init__(self, kept: Kept, read: Read | None) -> None:
        self._recorders: list[StreamRecorder] = []
        self._kept = kept
        self._read = read
        self.gi_running = False

    def add(self, recorder: StreamRecorder) -> None:
        """Let one more call have what comes."""
        recorder.reads_from(self)
        self._recorders.append(recorder)

    def waits(self) -> None:
        """Note that the next chunk is asked for."""
        for recorder in self._recorders:
            recorder.waits()

    def take(self, chunk: Any) -> None:
        """Take in the chunk that came."""
        if self._read is not None:
            try:
                chunk = self._read(chunk)
            except Exception as fault:
                internal_errors.report("reading a chunk", fault)
        for recorder in self._recorders:
            recorder.take(chunk)

    def finish(self, error: BaseException | None = None, *, cut: bool = False) -> None:
        """Settle the calls with what has come."""
        for recorder in self._recorders:
            recorder.finish(error, cut=cut)

    def ended(self, stream: Any) -> None:
        """Settle the call of a stream that was read to its end."""
        try:
            for chunk in self._kept(stream):
                for recorder in self._recorders:
                    recorder.add(chunk)
        except Exception as fault:
            internal_errors.report("ending a stream", fault)
        self.finish()

    def __del__(self) -> None:
        self.finish(cut=True)


_readings: IdentityMap[_Reading] = IdentityMap()


def is_stream_object(result: Any) -> bool:
    """Return whether a result is a stream whose class can be patched: no generator, and nothing built in."""
    kind = type(result)
    ours = kind.__flags__ & _HEAP_TYPE and kind.__weakrefoffset__
    return bool(ours) and (hasattr(kind, "__next__") or hasattr(kind, "__anext__"))


class StreamClasses:
    """The classes of a client's streams that have been seen."""

    def __init__(self) -> None:
        self._patched: list[_Patched] = []

    def follow(
        self,
        call: Call,
        stream: Any,
        accumulator: StreamAccumulator,
        kept: Kept = lambda stream: (),
        read: Read | None = None,
    ) -> None:
        """Settle the call when a stream ends, however that happens."""
        for name, wrapper in _WRAPPERS.items():
            self._patch(type(stream), name, wrapper)
        reading = _readings.get(stream)
        if reading is None:
            reading = _Reading(kept, read)
            _readings.set(stream, reading)
        reading.add(StreamRecorder(call, accumulator))

    def hook(self, module: str) -> Hook:
        """Return the hook that puts back the attributes of every class, with the patches of a module."""
        return Hook(module, lambda found: None, lambda found: self._forget())

    def _forget(self) -> None:
        while self._patched:
            owner, name, original, replacement = self._patched.pop()
            if vars(owner).get(name) is replacement:
                setattr(owner, name, original)

    def _patch(self, kind: type, name: str, wrapper: Callable[..., Any]) -> None:
        owner = next((one for one in kind.__mro__ if name in vars(one)), None)
        if owner is None or not owner.__flags__ & _HEAP_TYPE:
            return
        if any(one.owner is owner and one.name == name for one in self._patched):
            return
        original = vars(owner)[name]
        replacement = wrapt.FunctionWrapper(original, wrapper)
        setattr(owner, name, replacement)
        self._patched.append(_Patched(owner, name, original, replacement))


def _step(reading: _Reading, stream: Any, advance: Callable[[], Any]) -> Any:
    """Return the next chunk of a stream, noted."""
    reading.waits()
    reading.gi_running = True
    try:
        chunk = advance()
    except StopIteration:
        reading.ended(stream)
        raise
    except BaseException as error:
        reading.finish(error)
        raise
    finally:
        reading.gi_running = False
    reading.take(chunk)
    return chunk


async def _step_async(reading: _Reading, stream: Any, advance: Callable[[], Any]) -> Any:
    reading.waits()
    reading.gi_running = True
    try:
        chunk = await advance()
    except StopAsyncIteration:
        reading.ended(stream)
        raise
    except BaseException as error:
        reading.finish(error)
        raise
    finally:
        reading.gi_running = False
    reading.take(chunk)
    return chunk


def _next(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    return wrapped() if reading is None or reading.gi_running else _step(reading, stream, wrapped)


def _anext(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    return wrapped() if reading is None or reading.gi_running else _step_async(reading, stream, wrapped)


def _iter(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading, source = _readings.get(stream), wrapped()
    return source if reading is None or source is stream else _passed_on(reading, stream, source)


def _passed_on(reading: _Reading, stream: Any, source: Iterator[Any]) -> Iterator[Any]:
    """Read a stream whose iterator is another object."""
    try:
        while True:
            try:
                chunk = _step(reading, stream, source.__next__)
            except StopIteration:
                return
            yield chunk
    except GeneratorExit:
        reading.finish(cut=True)
        if (close := getattr(source, "close", None)) is not None:
            close()
        raise


def _aiter(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading, source = _readings.get(stream), wrapped()
    return source if reading is None or source is stream else _passed_on_async(reading, stream, source)


async def _passed_on_async(reading: _Reading, stream: Any, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """As `_passed_on`, asynchronously."""
    try:
        while True:
            try:
                chunk = await _step_async(reading, stream, source.__anext__)
            except StopAsyncIteration:
                return
            yield chunk
    except GeneratorExit:
        reading.finish(cut=True)
        if (aclose := getattr(source, "aclose", None)) is not None:
            await aclose()
        raise


def _close(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    if reading is not None and not reading.gi_running:
        reading.finish(cut=True)
    return wrapped(*args, **kwargs)


_WRAPPERS = {
    "__iter__": _iter,
    "__next__": _next,
    "__aiter__": _aiter,
    "__anext__": _anext,
    **dict.fromkeys(("close", "aclose", "cancel"), _close),
}
