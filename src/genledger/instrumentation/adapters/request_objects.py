"""Clients that make an object of each request, with methods that send it and generate its answers.

The methods are generators whether the answer streams or not; some are asynchronous for both kinds of application. An
answer with an error status is an answer, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genledger.engine.call import Call
from genledger.engine.driver import Arguments, Exchange, follow, generating, generating_async
from genledger.engine.operation import Body, StreamAccumulator
from genledger.engine.outcome import ErrorAnswer
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.methods import kind_of
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.patching import Patch, Patches, Wrapper
from genledger.pricing.getters import field, fields_of
from genledger.shared import internal_errors


@dataclass(frozen=True, slots=True)
class RequestObjects:
    """The patches of one client library.

    Args:
        client: The library; its endpoints are named as `name` does.
        methods: The generator functions that send a request, asynchronous or not, each as its module and
            `Class.function`.
        name: Returns the client's name for the endpoint of a request.
        address: Returns the URL that a request goes to, and its API key.
        body: Returns the fields of a request, by the provider's names.
        write: Writes changed fields into a request; nobody but the client has it.
    """

    client: WireClient
    methods: tuple[tuple[str, str], ...]
    name: Callable[[Any], str]
    address: Callable[[Any], tuple[str, str]]
    body: Callable[[Any], Body]
    write: Callable[[Any, Mapping[str, Any]], None]

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [Patch(module, method, self._wrapper()) for module, method in self.methods]

    def _wrapper(self) -> Wrapper:
        drivers = {"generator": generating(self._open), "async generator": generating_async(self._open)}

        def wrapper(wrapped: Any, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return drivers[kind_of(wrapped)](wrapped, request, args, kwargs)

        return wrapper

    def _open(
        self, recorder: Recorder, wrapped: Any, request: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        operation = self.client.operations.get(self.name(request))
        if operation is None:
            return None
        endpoint, streamed = self.client.endpoint(request, *self.address(request)), bool(request.stream)
        call = recorder.open(operation, self.client.library, endpoint, self.body(request), streamed=streamed)
        return RequestObjectExchange(call, request, self.write) if call is not None else None


class RequestObjectExchange(Exchange):
    """One request, and the answers that it generates.

    Args:
        call: The open call.
        request: The request.
        write: Writes changed fields into it.
    """

    __slots__ = ("_request", "_write")

    def __init__(self, call: Call, request: Any, write: Callable[[Any, Mapping[str, Any]], None]) -> None:
        super().__init__(call)
        self._request = request
        self._write = write

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Write the changes into the request."""
        if self.call.changes:
            self._write(self._request, self.call.changes)
        return args, kwargs

    def receive(self, result: Any) -> Any:
        """Follow the answers to their end; the first is all there is where the answer does not stream."""
        call = self.call
        accumulate = call.operation.accumulate or LastAnswer
        keep = call.recorder.capture is not None
        watch = _watched_async if hasattr(result, "__anext__") else _watched
        return follow(call, watch(call, result, accumulate(call.body, keep)), accumulate(call.body, keep))


class LastAnswer:
    """The answer of an operation that needs no more than the last: what came before said less."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._last: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more answers."""
        self._last = chunks[-1]

    def response(self) -> Mapping[str, Any]:
        """Return what was received."""
        return fields_of(self._last)

    def text_length(self) -> int:
        """Return nothing: what is generated is not billed by its length."""
        return 0

    @property
    def complete(self) -> bool:
        """Return whether an answer has come."""
        return self._last is not None

    @property
    def counted(self) -> bool:
        """Return whether nothing is to be estimated."""
        return True


def _watched(call: Call, source: Iterator[Any], whole: StreamAccumulator) -> Iterator[Any]:
    for item in source:
        _look(call, item, whole)
        yield item


async def _watched_async(call: Call, source: AsyncIterator[Any], whole: StreamAccumulator) -> AsyncIterator[Any]:
    async for item in source:
        _look(call, item, whole)
        yield item


def _look(call: Call, item: Any, whole: StreamAccumulator) -> None:
    """Settle the call if an answer is an error, or all there is."""
    try:
        status = field(item, "status_code")
        if isinstance(status, int) and not 0 < status < 400:
            call.settle(error=ErrorAnswer(int(status)))
        elif not call.streamed:
            call.headers = field(item, "headers")
            whole.fold([item])
            call.settle(whole.response())
    except Exception as error:
        internal_errors.report("reading the response", error)
