"""Clients with one method that sends a request and returns the answer whole, and one for streams.

Both are given the request as it goes over the wire. The second is a generator, asynchronous or not, of what the client
makes of the events. The events themselves pass a parser, which is given the lines of the response.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Any

from genledger.engine.call import running_call
from genledger.engine.driver import asynchronous, generating, generating_async, synchronous
from genledger.engine.outcome import ErrorAnswer
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.http_response import parse, tapped
from genledger.instrumentation.adapters.request_method import AsyncLines, LineTap, Request
from genledger.instrumentation.adapters.wire import WireExchange, Write
from genledger.instrumentation.patching import Patch, Patches

Place = tuple[str, str]
"""A module, and a function or a method of a class in it."""


@dataclass(frozen=True, slots=True)
class LineStreamClient:
    """A client library.

    Args:
        library: The library's name for users.
        sends: What sends a request and returns its answer, with `status`, `headers` in pairs and `body`; one that is
            synchronous, and one that is not.
        streams: What sends a request and is a generator, likewise.
        parsers: What is given the lines of a stream, where `streams` call it.
        request: Reads a request from the instance and the arguments; `None` for one that is no call.
        write: Writes changed fields of the request into a copy of the arguments.
        cause: Finds what failed behind an error of the client.
    """

    library: str
    sends: tuple[Place, Place]
    streams: tuple[Place, Place]
    parsers: tuple[Place, Place]
    request: Callable[[Any, tuple[Any, ...], dict[str, Any]], Request | None]
    write: Write
    cause: Callable[[BaseException], BaseException] = lambda error: error

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        drivers = (
            *zip(self.sends, (synchronous, asynchronous), strict=True),
            *zip(self.streams, (generating, generating_async), strict=True),
        )
        return [
            *(Patch(module, path, drive(self._open), optional=True) for (module, path), drive in drivers),
            *(Patch(module, path, self._listen, optional=True) for module, path in self.parsers),
        ]

    def _open(
        self, recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> WireExchange | None:
        request = self.request(instance, args, kwargs)
        if request is None:
            return None
        call = recorder.open(request.operation, self.library, request.endpoint, request.body, streamed=request.streamed)
        if call is None:
            return None
        call.cause = self.cause
        return (_StreamExchange if request.streamed else _WholeExchange)(call, self.write)

    def _listen(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Follow the lines of the running call's stream."""
        call = running_call(self.library)
        tap = call.answered if call is not None else None
        if not isinstance(tap, LineTap) or not args:
            return wrapped(*args, **kwargs)
        lines = args[0]
        followed = AsyncLines(aiter(lines), tap) if hasattr(lines, "__aiter__") else tapped(iter(lines), tap)
        return wrapped(followed, *args[1:], **kwargs)


class _WholeExchange(WireExchange):
    """One request, and its answer."""

    __slots__ = ()

    def receive(self, result: Any) -> Any:
        """Settle the call with the answer."""
        call = self.call
        call.headers = {name.lower(): value for name, value in result.headers}
        if result.status >= 400:
            call.settle(error=ErrorAnswer(result.status))
        else:
            call.settle(parse(result.body))
        return result


class _StreamExchange(WireExchange):
    """One request, and the items that the client makes of its stream."""

    __slots__ = ()

    def receive(self, result: Any) -> Any:
        """Pass the items on; the lines that they are made of settle the call."""
        call, accumulate = self.call, self.call.operation.accumulate
        assert accumulate is not None
        call.answered = tap = LineTap(call, accumulate(call.body, call.recorder.capture is not None))
        return _items_async(tap, result) if hasattr(result, "__anext__") else _items(tap, result)


def _items(tap: LineTap, source: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    try:
        yield from source
    except GeneratorExit:
        tap.closed()
        raise
    except BaseException as error:
        tap.finish(error)
        raise
    tap.finish(None)


async def _items_async(tap: LineTap, source: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    try:
        async for item in source:
            yield item
    except GeneratorExit:
        tap.closed()
        await source.aclose()
        raise
    except BaseException as error:
        tap.finish(error)
        raise
    tap.finish(None)
