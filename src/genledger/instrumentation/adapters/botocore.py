"""Clients of AWS: every call of every service passes through one method, `BaseClient._make_api_call`.

It is given the operation's name and its parameters, and returns a dictionary, a member of which may be an event
stream, or a body that the application reads by itself. So one patch covers every client, also those made before.
aiobotocore, which aioboto3 builds on, has the same classes with coroutines, over a response of aiohttp or httpx.
Of what botocore keeps to itself, this module touches `EventStream._event_generator`, `_create_raw_event_generator`
and `_raw_stream`, `StreamingBody._raw_stream` and `Endpoint._needs_retry`. Where a stream or body lacks them, the
call settles by its headers.
"""

from __future__ import annotations

import inspect
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

import orjson
import wrapt
from opentelemetry.context import get_current

from genledger.engine.call import CALL_KEY, Call
from genledger.engine.driver import Arguments, Exchange, asynchronous, synchronous
from genledger.engine.operation import Body, Endpoint, Operation, StreamAccumulator, at_path, with_changes, with_path
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder
from genledger.engine.streams import AsyncStreamIterator, StreamRecorder, iterated
from genledger.instrumentation.adapters import http_response
from genledger.instrumentation.patching import Patch, Patches
from genledger.shared import internal_errors

ReadMessage = Callable[[Any], Iterable[Any]]
"""Makes chunks of one message of an event stream, as botocore parsed its frame; may raise on a malformed one."""


def events() -> ReadMessage:
    """Return what reads events: each is a chunk, under its type."""
    return lambda message: ({message.headers[":event-type"]: orjson.loads(message.payload)},)


def documents() -> ReadMessage:
    """Return what reads events that carry a document each, in base64."""
    return lambda message: (orjson.loads(b64decode(orjson.loads(message.payload)["bytes"])),)


def lines() -> ReadMessage:
    """Return what reads events that carry bytes: lines of JSON or server-sent events, cut anywhere."""
    rest = b""

    def read(message: Any) -> Iterable[Any]:
        nonlocal rest
        *whole, rest = (rest + message.payload).split(b"\n")
        if rest.endswith(b"}") and _line(rest) is not None:  # some servers do not end the last line
            whole, rest = [*whole, rest], b""
        return (chunk for chunk in map(_line, whole) if chunk is not None)

    return read


def _line(line: bytes) -> Any:
    return http_response.parse(line.removeprefix(b"data:"))


@dataclass(frozen=True, slots=True)
class ServiceOperation:
    """One operation of an AWS service.

    A request's body, as an `Operation` reads it, has the operation's parameters, and the model as `model`.

    Args:
        operation: Finds from the body what kind of call it is; `None` for one that is not recorded.
        models: The parameters that may name the model, by path; the first that is there does.
        document: The parameter, and the member of the answer, that is JSON in the model's own format. Its fields
            take the parameter's place in the body.
        stream: The member of the answer that is an event stream.
        messages: Returns what reads the messages of one such stream.
        listed: The field that stands for an answer that is a list, for a document's readers.
    """

    operation: Callable[[Body], Operation | None]
    models: tuple[str, ...] = ("modelId",)
    document: str = ""
    stream: str = ""
    messages: Callable[[], ReadMessage] = events
    listed: str = ""


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """The clients of some AWS services.

    Args:
        library: The library's name for users.
        provider: `gen_ai.provider.name`.
        operations: What is recorded, by service and operation, as botocore names them.
    """

    library: str
    provider: str
    operations: Mapping[tuple[str, str], ServiceOperation]

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [
            Patch("botocore.client", "BaseClient._make_api_call", synchronous(self._open)),
            Patch("botocore.endpoint", "Endpoint._needs_retry", self._retry, optional=True),
            Patch("aiobotocore.client", "AioBaseClient._make_api_call", asynchronous(self._open)),
            Patch("aiobotocore.endpoint", "AioEndpoint._needs_retry", self._retry_async, optional=True),
        ]

    def _open(
        self, recorder: Recorder, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        name, parameters = _asked(*args, **kwargs)
        key = (client.meta.service_model.service_name, name)
        service = self.operations.get(key)
        if service is None:
            return None
        document = _document(parameters.get(service.document))
        model = next((path for path in service.models if at_path(parameters, path) is not None), service.models[0])
        body = {one: value for one, value in parameters.items() if one not in (service.document, model)}
        body |= {**document, "model": at_path(parameters, model)}
        operation = service.operation(body)
        if operation is None:
            return None
        endpoint = _endpoint(self.provider, client.meta.endpoint_url)
        streamed = bool(service.stream) and operation.inference  # an agent's events tell of its work
        call = recorder.open(operation, self.library, endpoint, body, streamed=streamed)
        if call is None:
            return None
        call.request = key
        return ServiceExchange(call, service, name, parameters, document, model)

    def _retry(self, wrapped: Any, endpoint: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Count what is sent again, and ask the budgets when the attempt before may be billed."""
        again = wrapped(*args, **kwargs)
        call = self._retried(args, kwargs) if again else None
        if call is not None:
            call.readmit()
        return again

    async def _retry_async(self, wrapped: Any, endpoint: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do as `_retry` does, without blocking the event loop."""
        again = await wrapped(*args, **kwargs)
        call = self._retried(args, kwargs) if again else None
        if call is not None:
            await call.readmit_async()
        return again

    def _retried(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note a retry; gives the call when the attempt before may be billed."""
        try:
            call = get_current().get(CALL_KEY)
            key, answer, error = _attempted(*args, **kwargs)
            # A client may get its credentials from another service while it makes a call.
            if not isinstance(call, Call) or call.library != self.library or call.request != key:
                return None
            return call if call.retried(answer, error) else None
        except Exception as fault:
            internal_errors.report("counting a retry", fault)
            return None


class ServiceExchange(Exchange):
    """One requested operation of a service.

    Args:
        call: The open call.
        service: The operation.
        name: The operation's name.
        parameters: Its parameters.
        document: The document among them.
        model: The parameter that names the model, by path.
    """

    __slots__ = ("_document", "_model", "_name", "_parameters", "_service")

    def __init__(
        self,
        call: Call,
        service: ServiceOperation,
        name: str,
        parameters: Mapping[str, Any],
        document: Mapping[str, Any],
        model: str,
    ) -> None:
        super().__init__(call)
        self._model = model
        self._service = service
        self._name = name
        self._parameters = parameters
        self._document = document

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments with the changes in the parameters, or in the document that is one of them."""
        changes = dict(self.call.changes)
        if not changes:
            return args, kwargs
        parameters, service = self._parameters, self._service
        if "model" in changes:
            parameters = with_path(parameters, self._model, changes["model"])
            if "model" not in self._document:
                del changes["model"]
        if not service.document:
            parameters = with_changes(parameters, changes)
        elif changes:
            text = orjson.dumps(with_changes(self._document, changes))
            sent = text.decode() if isinstance(parameters[service.document], str) else text
            parameters = {**parameters, service.document: sent}
        return (self._name, parameters), {}

    def receive(self, result: Any) -> Any:
        """Settle the call, or follow the stream or the body that the application reads by itself."""
        call, service = self.call, self._service
        metadata = result.get("ResponseMetadata") or {}
        call.headers = metadata.get("HTTPHeaders") or {}
        unseen = (metadata.get("RetryAttempts") or 0) - len(call.retry_causes)
        call.retry_causes.extend(["unknown"] * unseen)
        # Somebody else's proxy around a stream or a body reads it too, so what is under the proxy is enough. Before
        # aiobotocore 3, a body is itself a proxy, around the response.
        member = inspect.unwrap(result.get(service.stream or service.document))
        accumulate = call.operation.accumulate
        if hasattr(member, "_event_generator") and accumulate is not None:
            accumulator = accumulate(call.body, call.recorder.capture is not None)
            _follow(member, StreamRecorder(call, EventMessages(accumulator, service.messages())))
        elif not _listen(member, call, partial(http_response.parse, listed=service.listed)):
            call.settle(result)
        return result


def _asked(operation_name: str, api_params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the arguments of `_make_api_call`."""
    return operation_name, api_params


def _document(value: Any) -> Mapping[str, Any]:
    """Return the fields of a document; none of one that is no JSON object, or can be read only once."""
    if not isinstance(value, (str, bytes, bytearray)):
        return {}
    return http_response.parse(value) or {}


@lru_cache(256)
def _endpoint(provider: str, url: str) -> Endpoint:
    """Return the server and provider a client is connected to."""
    parts = urlsplit(url)
    return Endpoint(provider, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), url)


def _listen(body: Any, call: Call, read: Callable[[bytes], Any]) -> bool:
    """Settle a call when the application has read a body, or closes or drops it; returns whether there is one."""
    raw = getattr(body, "_raw_stream", body)
    if hasattr(raw, "aiter_raw"):  # httpx
        http_response.tap(raw, call, None, read)
    elif hasattr(getattr(raw, "content", None), "iter_chunked"):  # aiohttp
        raw.content = AsyncContent(raw.content, http_response.ResponseTap(call, None, call.headers, read))
    elif raw is not body:
        tap = http_response.ResponseTap(call, None, call.headers, read)
        body._raw_stream = RawBody(raw, tap.closed, tap)
    else:
        return False
    return True


def _reading(name: str) -> Callable[..., Awaitable[Any]]:
    async def read(self: AsyncContent, *args: Any, **kwargs: Any) -> Any:
        tap, reader = self._self_tap, self.__wrapped__
        try:
            data = await getattr(reader, name)(*args, **kwargs)
        except BaseException as error:
            tap.finish(error)
            raise
        tap.feed(data[0] if isinstance(data, tuple) else data)
        if reader.at_eof():
            tap.finish(None)
        return data

    return read


def _iterating(name: str) -> Callable[..., Any]:
    # The reader's own function on the proxy, so that each item is read through the proxy.
    return lambda self, *args: getattr(type(self.__wrapped__), name)(self, *args)


class AsyncContent(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """The content of a response of aiohttp; feeds a listener however it is read."""

    def __init__(self, reader: Any, tap: http_response.ResponseTap) -> None:
        super().__init__(reader)
        self._self_tap = tap

    read, readany, readchunk = map(_reading, ("read", "readany", "readchunk"))
    readline, readuntil, readexactly = map(_reading, ("readline", "readuntil", "readexactly"))
    __aiter__, iter_any = map(_iterating, ("__aiter__", "iter_any"))
    iter_chunked, iter_chunks = map(_iterating, ("iter_chunked", "iter_chunks"))

    def set_exception(self, *args: Any) -> None:
        """Pass on an error: the response has one for its content when it is closed."""
        try:
            self.__wrapped__.set_exception(*args)
        finally:
            self._self_tap.closed()


class RawBody(http_response.Body):
    """Bytes under a `StreamingBody`; feeds a listener however they are read."""

    _self_tap: http_response.ResponseTap

    def _passed(self, data: bytes, *, last: bool) -> None:
        self._self_tap.feed(data)
        if last:
            self._self_tap.finish(None)

    def _read(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self.__wrapped__, method)(*args, **kwargs)
        except BaseException as error:
            self._self_tap.finish(error)
            raise

    def read(self, amt: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """Read so many bytes; all of them by default."""
        data = self._read("read", amt, *args, **kwargs)
        self._passed(data, last=amt is None or amt < 0 or (not data and amt > 0))
        return data

    def readinto(self, buffer: Any) -> Any:
        """Read into a buffer."""
        count = self._read("readinto", buffer)
        self._passed(bytes(memoryview(buffer)[:count]), last=not count and len(buffer) > 0)
        return count

    def readline(self, *args: Any) -> Any:
        """Read a line."""
        line = self._read("readline", *args)
        self._passed(line, last=not line)
        return line

    def readlines(self, *args: Any) -> Any:
        """Read lines; all of them by default."""
        lines = self._read("readlines", *args)
        self._passed(b"".join(lines), last=not args)
        return lines

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """Read in chunks."""
        return http_response.tapped(self.__wrapped__.stream(*args, **kwargs), self._self_tap)


class EventMessages:
    """Puts the messages of an event stream together.

    https://smithy.io/2.0/aws/amazon-eventstream.html

    Args:
        accumulator: Puts together what the messages carry.
        read: Reads one message.
    """

    def __init__(self, accumulator: StreamAccumulator, read: ReadMessage) -> None:
        self._accumulator = accumulator
        self._read = read

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more messages, as botocore parsed their frames; one that is malformed is passed over."""
        found: list[Any] = []
        for message in chunks:
            try:
                found.extend(self._read(message))
            except (KeyError, TypeError, ValueError):
                continue
        self._accumulator.fold(found)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole response."""
        return self._accumulator.response()

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._accumulator.text_length()

    @property
    def counted(self) -> bool:
        """Return whether the usage received so far counts everything."""
        return self._accumulator.counted

    @property
    def complete(self) -> bool | None:
        """Return whether the provider has marked the response as finished."""
        return self._accumulator.complete


def _follow(stream: Any, recording: StreamRecorder) -> None:
    """Settle a call when its event stream ends, fails, is closed or dropped."""
    # botocore's generator refers to its stream, which refers to the generator: only the garbage collector would
    # end a stream that was dropped. A generator made on a copy leaves the stream itself free to go.
    twin = object.__new__(type(stream))
    twin.__dict__.update(stream.__dict__, _event_generator=None)
    messages = twin._create_raw_event_generator()
    if hasattr(messages, "__anext__"):
        stream._event_generator = AsyncStreamIterator(_noting_errors_async(messages, recording), recording)
    else:
        stream._event_generator = iterated(_noting_errors(messages, recording), recording)
    stream._raw_stream = http_response.Body(stream._raw_stream, recording.closed)


def _noting_errors(messages: Iterator[Any], recording: StreamRecorder) -> Iterator[Any]:
    for message in messages:
        _note_error(message, recording)
        yield message


async def _noting_errors_async(messages: AsyncIterator[Any], recording: StreamRecorder) -> AsyncIterator[Any]:
    async for message in messages:
        _note_error(message, recording)
        yield message


def _note_error(message: Any, recording: StreamRecorder) -> None:
    """End the call with the error that a message is; botocore raises it when it parses the message."""
    try:
        if message.headers.get(":message-type") != "event":
            recording.finish(_error(message))
    except Exception as error:
        internal_errors.report("recording an error event", error)


def _error(message: Any) -> ErrorEvent:
    """Return a modeled exception, with its JSON, or an error, which is all in the headers."""
    headers = message.headers
    said = http_response.parse(message.payload) or {}
    code = headers.get(":exception-type") or headers.get(":error-code")
    return ErrorEvent({"code": code, "message": said.get("message") or headers.get(":error-message")})


def _attempted(
    attempts: int, operation_model: Any, request_dict: Any, response: Any = None, caught_exception: Any = None
) -> tuple[tuple[str, str], Any, BaseException | None]:
    """Return which operation was sent, and what came of it, given the arguments of `_needs_retry`."""
    key = operation_model.service_model.service_name, operation_model.name
    return key, response[0] if response is not None else None, caught_exception
