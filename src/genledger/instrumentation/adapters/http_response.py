"""HTTP response bodies that the application reads by itself: raw and streaming responses.

A typed stream only has to know when its body is closed. When nothing else reads the answer for us, a tap listens to
the bytes that pass. Either way, the body stays in place: a client may look something up in it.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from types import new_class
from typing import Any

import orjson
import wrapt

from genledger.engine.call import Call
from genledger.engine.operation import StreamAccumulator
from genledger.engine.outcome import ErrorEvent
from genledger.engine.priced_usage import known_by_headers
from genledger.engine.streams import StreamRecorder, watch
from genledger.shared import internal_errors

MAX_BODY = 32 * 1024 * 1024
"""Bytes of an unstreamed body that are kept to read its usage; a longer body is settled without."""


def parse(data: bytes | bytearray | str, listed: str = "") -> Any:
    """Return a JSON object, or `None` for anything else; a list is the field `listed` of one, if that is given."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if listed and isinstance(value, list):
        return {listed: value}
    return value if isinstance(value, dict) else None


class Body(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """Byte stream wrapper that feeds a listener as it is read, for a body that cannot be of another class."""

    def __init__(
        self,
        stream: Any,
        closed: Callable[[], None],
        tap: ResponseTap | None = None,
    ) -> None:
        super().__init__(stream)
        self._self_closed = closed
        self._self_tap = tap

    def __iter__(self) -> Iterator[bytes]:
        if self._self_tap is None:
            return iter(self.__wrapped__)
        return tapped(self.__wrapped__, self._self_tap)

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._self_tap is None:
            return self.__wrapped__.__aiter__()
        return tapped_async(self.__wrapped__, self._self_tap)

    def close(self) -> None:
        """Close the body, then tell."""
        try:
            self.__wrapped__.close()
        finally:
            self._self_closed()

    async def aclose(self) -> None:
        """Close the body, then tell."""
        try:
            await self.__wrapped__.aclose()
        finally:
            self._self_closed()


def tapped(stream: Any, tap: ResponseTap) -> Iterator[bytes]:
    """Pass on the pieces of a body and feed a listener."""
    try:
        for data in stream:
            tap.feed(data)
            yield data
            tap.asks()
    except GeneratorExit:
        raise
    except BaseException as error:
        tap.finish(error)
        raise
    tap.finish(None)


async def tapped_async(stream: Any, tap: ResponseTap) -> AsyncIterator[bytes]:
    """Do as `tapped` does, asynchronously."""
    try:
        async for data in stream:
            tap.feed(data)
            yield data
            tap.asks()
    except GeneratorExit:
        raise
    except BaseException as error:
        tap.finish(error)
        raise
    tap.finish(None)


def watch_close(response: Any, recording: StreamRecorder) -> None:
    """Settle a typed stream when its body is closed behind its back."""
    # A body that was complete from the start (a cache, a test transport) is never closed again: the response is
    # all that still hears of it.
    body = response if response.is_closed else response.stream
    if not _listens(body, recording):
        response.stream = Body(response.stream, recording.closed)


def _listens(body: Any, listener: StreamRecorder | ResponseTap) -> bool:
    """Make a body tell a listener; returns whether it can.

    It becomes of a class that also tells. A function on the body would have to hold the body's own method, and so keep
    the body alive, or hold it weakly, and so lose it where the garbage collector ends a cycle of objects.
    """
    try:
        body.__dict__.setdefault(_LISTENERS, []).append(listener)
        if not issubclass(type(body), _Telling):
            body.__class__ = telling(type(body))  # type: ignore[arg-type]
    except (AttributeError, TypeError):
        return False
    return True


_LISTENERS = "_genledger_listeners"


class _Telling:
    """Mark of the classes that `telling` makes."""

    __slots__ = ()


@lru_cache(maxsize=32)
def telling(kind: type) -> type:
    """Return a class like `kind` that also tells the listeners of a body what is read, and that it is closed."""

    def __iter__(self: Any) -> Iterator[bytes]:
        source = kind.__iter__(self)  # type: ignore[attr-defined]
        for tap in _taps(self):
            source = tapped(source, tap)
        return source

    def __aiter__(self: Any) -> AsyncIterator[bytes]:
        source = kind.__aiter__(self)  # type: ignore[attr-defined]
        for tap in _taps(self):
            source = tapped_async(source, tap)
        return source

    def close(self: Any) -> None:
        try:
            kind.close(self)  # type: ignore[attr-defined]
        finally:
            _tell(self)

    async def aclose(self: Any) -> None:
        try:
            await kind.aclose(self)  # type: ignore[attr-defined]
        finally:
            _tell(self)

    names: dict[str, Any] = {"__slots__": (), "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    names |= {
        method.__name__: method for method in (__iter__, __aiter__, close, aclose) if hasattr(kind, method.__name__)
    }
    return new_class(kind.__name__, (kind, _Telling), exec_body=lambda namespace: namespace.update(names))


def _taps(body: Any) -> list[ResponseTap]:
    return [listener for listener in body.__dict__.get(_LISTENERS, ()) if isinstance(listener, ResponseTap)]


def _tell(body: Any) -> None:
    for listener in body.__dict__.pop(_LISTENERS, ()):
        listener.closed()


def tap(response: Any, call: Call, accumulator: StreamAccumulator | None, read: Callable[[bytes], Any] = parse) -> None:
    """Settle a call from the bytes of a response that the application reads by itself, or has read."""
    tap = ResponseTap(call, accumulator, response.headers, read)
    if response.is_stream_consumed or response.is_closed:
        tap.feed_all(response.content)
    elif not _listens(response.stream, tap):
        response.stream = Body(response.stream, tap.closed, tap)


def event_stream(result: Any) -> Any:
    """Return a response that is iterated by its bytes, if it may be a stream of events; `None` for JSON."""
    kind = getattr(result, "headers", {}).get("content-type", "")
    return result if "json" not in kind and hasattr(type(result), "__iter__") else None


def tap_events(body: Any, call: Call, accumulator: StreamAccumulator) -> None:
    """Settle a call from the server-sent events in a body that gives decoded bytes when it is iterated."""
    tap = ResponseTap(call, accumulator, {"content-type": "text/event-stream"})
    if not _listens(body, tap):
        tap.closed()


def tap_content(result: Any, call: Call) -> None:
    """Settle a call of a batch, recording the results if that is what the application has got: a file, or its text."""
    results = call.recorder.batches.results(call)
    if results is not None:
        content = getattr(getattr(result, "response", None), "content", result)
        if isinstance(content, (str, bytes)):
            results.feed(content.encode() if isinstance(content, str) else content)
            results.end()
    call.settle(result)


_LINES = re.compile(r"application/(x-ndjson|ndjson|jsonl|x-jsonlines|jsonlines|stream\+json)")
"""Content types of streams that have one JSON object on each line."""


def _mark_of(kind: str) -> bytes | None:
    """Return what begins a line with a chunk in a stream of this content type; `None` when it is no stream."""
    if "text/event-stream" in kind:
        return b"data:"
    return b"" if _LINES.match(kind) else None


def _decoder() -> Callable[[bytes], bytes]:
    """Return what decodes gzip, and deflate with or without the header that RFC 9110 asks for."""
    decoder, begun = zlib.decompressobj(zlib.MAX_WBITS | 32), False

    def decode(data: bytes) -> bytes:
        nonlocal decoder, begun
        try:
            return decoder.decompress(data)
        except zlib.error:
            if begun:
                raise
            decoder = zlib.decompressobj(-zlib.MAX_WBITS)
            return decoder.decompress(data)
        finally:
            begun = True

    return decode


class ResponseTap:
    """Reads a body as it passes: events and lines of a stream as they come, JSON, by `read`, once it is whole."""

    def __init__(
        self,
        call: Call,
        accumulator: StreamAccumulator | None,
        headers: Any,
        read: Callable[[bytes], Any] = parse,
    ) -> None:
        self._call = call
        self._read = read
        kind = headers.get("content-type", "")
        mark = _mark_of(kind) if accumulator is not None else None
        self._mark = mark or b""
        self._reading = StreamRecorder(call, accumulator) if accumulator is not None and mark is not None else None
        batch = call.operation.batch
        is_results = batch is not None and batch.carried is None  # else they are a part of the answer
        self._results = call.recorder.batches.results(call) if is_results else None
        self._json = "json" in kind and self._results is None
        self._kept: list[bytes] = []
        self._size = 0
        self._rest = b""
        self._done = False
        self._refusal: ErrorEvent | None = None
        self._fails = False
        encoding = headers.get("content-encoding", "identity")
        self._decode: Callable[[bytes], bytes] | None = None
        if self._reading is None:
            watch(self)
        if encoding in ("gzip", "deflate"):
            self._decode = _decoder()
        elif encoding != "identity":
            if self._results is not None:
                internal_errors.report("recording the results of a batch", ValueError(f"their encoding is {encoding}"))
            self._json, self._reading, self._results = False, None, None

    def feed(self, data: bytes) -> None:
        """Take in bytes as they came from the network."""
        try:
            if self._decode is not None:
                data = self._decode(data)
            if self._results is not None:
                self._results.feed(data)
            elif self._reading is not None:
                self._events(data)
            elif self._json and self._size <= MAX_BODY:
                self._size += len(data)
                self._kept.append(data)
        except Exception as error:
            internal_errors.report("listening to a response", error)

    def asks(self) -> None:
        """Note that the application requests more."""
        if self._reading is not None:
            self._reading.asks()

    def feed_all(self, content: bytes) -> None:
        """Take in a body that is already there, decoded."""
        self._decode = None
        self.feed(content)
        self.finish(None)

    def _events(self, data: bytes) -> None:
        recording = self._reading
        assert recording is not None
        lines = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line.startswith(self._mark):
                payload = line[len(self._mark) :].strip()
                if payload == b"[DONE]":
                    self._done = True
                elif payload:
                    recording.stamps.append(time.perf_counter())
                    try:
                        event = orjson.loads(payload)
                    except orjson.JSONDecodeError:
                        continue
                    recording.add(event)
                    if isinstance(event, dict):
                        said = event.get("error") or event.get("errors") or (event if self._fails else None)
                        self._refusal = _error_event(said, event) if said else self._refusal
            elif line.startswith(b"event:"):
                self._fails = line[len(b"event:") :].strip() == b"error"
            elif not line:
                self._fails = False
        recording.fold()

    @property
    def ended(self) -> bool:
        """Return whether the event has come that ends the stream, or one that is an error."""
        return self._done or self._refusal is not None

    def finish(self, error: BaseException | None) -> None:
        """The body was read to its end, or broke off."""
        try:
            if self._results is not None:
                self._results.end()
            if self._reading is not None:
                if error is None:
                    self.feed_rest()
                self._reading.finish(error or self._refusal)
            else:
                response = self._response()
                if response is None and error is not None:
                    self._call.fate = "lost"  # its answer had begun
                self._call.settle(response, error=error)
        except Exception as fault:
            internal_errors.report("listening to a response", fault)
            self._call.settle(error=error)

    def feed_rest(self) -> None:
        """Take in a last line that the provider did not end."""
        try:
            self._events(b"\n")
        except Exception as error:
            internal_errors.report("listening to a response", error)

    def closed(self) -> None:
        """The body was closed."""
        try:
            if self._results is not None:
                self._results.end()
            if self._reading is not None:
                self._reading.finish(self._refusal, cut=not self._done and self._refusal is None)
            else:
                response = self._response()
                unread = not self._json or (response is None and self._size <= MAX_BODY)
                cut = self._results is not None or unread
                self._call.settle(response, cut=cut)
        except Exception as fault:
            internal_errors.report("listening to a response", fault)
            self._call.settle(cut=True)

    def _response(self) -> Any:
        if not self._json:
            return {}
        response = self._read(b"".join(self._kept)) if self._size <= MAX_BODY else None
        return {} if response is None and known_by_headers(self._call) else response

    def __del__(self) -> None:
        if not self._call.settled:
            self.closed()


def _error_event(said: Any, event: dict[str, Any]) -> ErrorEvent | None:
    """Return the error that an event is: an object, or a text with its type beside it, as from Hugging Face.

    Of a list of errors, as from IBM, it is the first.
    """
    if isinstance(said, list):
        said = said[0]
    if isinstance(said, str):
        said = {"message": said, "type": event.get("error_type")}
    return ErrorEvent(said) if isinstance(said, dict) else None
