"""Streams that are objects of a client's own class: the application gets that very object.

Its class passes on what comes out, for the streams that are followed; it is patched when the first one is seen, so
that no list of a client's classes is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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

_HEAP_TYPE = 1 << 9
"""The flag of classes that are written in Python; https://docs.python.org/3/c-api/typeobj.html."""


class _Patched(NamedTuple):
    owner: type
    name: str
    original: Any
    replacement: Any


class _Reading:
    """One stream that the application reads. It ends with the stream object, if nothing else ends it before."""

    __slots__ = ("__weakref__", "_kept", "gi_running", "recorder")

    def __init__(self, recorder: StreamRecorder, kept: Kept) -> None:
        self.recorder = recorder
        self._kept = kept
        self.gi_running = False
        recorder.reads_from(self)

    def ended(self, stream: Any) -> None:
        """Settle the call of a stream that was read to its end."""
        try:
            for chunk in self._kept(stream):
                self.recorder.add(chunk)
        except Exception as fault:
            internal_errors.report("ending a stream", fault)
        self.recorder.finish()

    def __del__(self) -> None:
        self.recorder.finish(cut=True)


_readings: IdentityMap[_Reading] = IdentityMap()


def is_stream_object(result: Any) -> bool:
    """Return whether a result is a stream whose class can be patched: no generator, and nothing built in."""
    kind = type(result)
    return bool(kind.__flags__ & _HEAP_TYPE) and (hasattr(kind, "__next__") or hasattr(kind, "__anext__"))


class StreamClasses:
    """The classes of a client's streams that have been seen."""

    def __init__(self) -> None:
        self._patched: list[_Patched] = []

    def follow(self, call: Call, stream: Any, accumulator: StreamAccumulator, kept: Kept) -> None:
        """Settle the call when a stream ends, however that happens."""
        for name, wrapper in _WRAPPERS.items():
            self._patch(type(stream), name, wrapper)
        _readings.set(stream, _Reading(StreamRecorder(call, accumulator), kept))

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


def _next(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    if reading is None or reading.gi_running:
        return wrapped(*args, **kwargs)
    recorder = reading.recorder
    recorder.waits()
    reading.gi_running = True
    try:
        chunk = wrapped(*args, **kwargs)
    except StopIteration:
        reading.ended(stream)
        raise
    except BaseException as error:
        recorder.finish(error)
        raise
    finally:
        reading.gi_running = False
    recorder.take(chunk)
    return chunk


async def _anext(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    if reading is None or reading.gi_running:
        return await wrapped(*args, **kwargs)
    recorder = reading.recorder
    recorder.waits()
    reading.gi_running = True
    try:
        chunk = await wrapped(*args, **kwargs)
    except StopAsyncIteration:
        reading.ended(stream)
        raise
    except BaseException as error:
        recorder.finish(error)
        raise
    finally:
        reading.gi_running = False
    recorder.take(chunk)
    return chunk


def _close(wrapped: Any, stream: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    reading = _readings.get(stream)
    if reading is not None and not reading.gi_running:
        reading.recorder.closed()
    return wrapped(*args, **kwargs)


_WRAPPERS = {"__next__": _next, "__anext__": _anext, "close": _close, "aclose": _close}
