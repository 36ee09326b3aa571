"""Clients of AWS: every call of every service passes through one method, `BaseClient._make_api_call`.

It is given the operation's name and its parameters, and returns a dictionary, a member of which may be an event
stream, or a body that the application reads by itself. So one patch covers every client, also those made before.
Of what botocore keeps to itself, this module touches `EventStream._event_generator`, `_create_raw_event_generator`
and `_raw_stream`, `StreamingBody._raw_stream` and `Endpoint._needs_retry`. Where a stream or body lacks them, the
call settles by its headers.
"""

from __future__ import annotations

import inspect
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from opentelemetry.context import get_current

from genledger.engine.call import CALL_KEY, Call
from genledger.engine.driver import Arguments, Exchange, synchronous
from genledger.engine.operation import Body, Endpoint, Operation, StreamAccumulator, at_path, with_changes, with_path
from genledger.engine.outcome import ErrorEvent
from genledger.engine.recorder import Recorder
from genledger.engine.streams import StreamRecorder, iterated
from genledger.instrumentation.adapters import http_response
from genledger.instrumentation.patching import Patch, Patches
from genledger.shared import internal_errors


@dataclass(frozen=True, slots=True)
class ServiceOperation:
    """One operation of an AWS service.

    A request's body, as an `Operation` reads it, has the operation's parameters, and the model as `model`.

    Args:
        operation: Finds from the body what kind of call it is.
        model: The parameter that names the model, by path.
        document: The parameter, and the member of the answer, that is JSON in the model's own format. Its fields
            take the parameter's place in the body.
        stream: The member of the answer that is an event stream, whose events are documents where there are any.
    """

    operation: Callable[[Body], Operation]
    model: str = "modelId"
    document: str = ""
    stream: str = ""


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
            Patch("botocore.endpoint", "Endpoint._needs_retry", _retry, optional=True),
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
        body = {one: value for one, value in parameters.items() if one not in (service.document, service.model)}
        body |= {**document, "model": at_path(parameters, service.model)}
        endpoint = _endpoint(self.provider, client.meta.endpoint_url)
        call = recorder.open(service.operation(body), self.library, endpoint, body, streamed=bool(service.stream))
        if call is None:
            return None
        call.request = key
        return ServiceExchange(call, service, name, parameters, document)


class ServiceExchange(Exchange):
    """One requested operation of a service.

    Args:
        call: The open call.
        service: The operation.
        name: The operation's name.
        parameters: Its parameters.
        document: The document among them.
    """

    __slots__ = ("_document", "_name", "_parameters", "_service")

    def __init__(
        self,
        call: Call,
        service: ServiceOperation,
        name: str,
        parameters: Mapping[str, Any],
        document: Mapping[str, Any],
    ) -> None:
        super().__init__(call)
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
            parameters = with_path(parameters, service.model, changes["model"])
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
        # Somebody else's proxy around a stream or a body reads it too, so what is under the proxy is enough.
        member = inspect.unwrap(result.get(service.stream or service.document))
        accumulate = call.operation.accumulate
        if hasattr(member, "_event_generator") and accumulate is not None:
            accumulator = accumulate(call.body, call.recorder.capture is not None)
            _follow(member, StreamRecorder(call, EventMessages(accumulator, documents=bool(service.document))))
        elif hasattr(member, "_raw_stream"):
            tap = http_response.ResponseTap(call, None, call.headers)
            member._raw_stream = RawBody(member._raw_stream, tap.closed, tap)
        else:
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
    """Puts the messages of an event stream together: events, or the documents that they carry.

    https://smithy.io/2.0/aws/amazon-eventstream.html

    Args:
        accumulator: Puts the events together.
        documents: Each event carries a document, in base64.
    """

    def __init__(self, accumulator: StreamAccumulator, *, documents: bool) -> None:
        self._accumulator = accumulator
        self._documents = documents

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more messages, as botocore parsed their frames; one that is malformed is passed over."""
        events = []
        for message in chunks:
            try:
                payload = orjson.loads(message.payload)
                if self._documents:
                    events.append(orjson.loads(b64decode(payload["bytes"])))
                else:
                    events.append({message.headers[":event-type"]: payload})
            except (KeyError, TypeError, ValueError):
                continue
        self._accumulator.fold(events)

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
    def complete(self) -> bool:
        """Return whether the provider has marked the response as finished."""
        return self._accumulator.complete


def _follow(stream: Any, recording: StreamRecorder) -> None:
    """Settle a call when its event stream ends, fails, is closed or dropped."""
    # botocore's generator refers to its stream, which refers to the generator: only the garbage collector would
    # end a stream that was dropped. A generator made on a copy leaves the stream itself free to go.
    twin = object.__new__(type(stream))
    twin.__dict__.update(stream.__dict__, _event_generator=None)
    stream._event_generator = iterated(_noting_errors(twin._create_raw_event_generator(), recording), recording)
    stream._raw_stream = http_response.Body(stream._raw_stream, recording.closed)


def _noting_errors(messages: Iterator[Any], recording: StreamRecorder) -> Iterator[Any]:
    """End the call with the error that a message is; botocore raises it when it parses the message."""
    for message in messages:
        try:
            if message.headers.get(":message-type") != "event":
                recording.finish(_error(message))
        except Exception as error:
            internal_errors.report("recording an error event", error)
        yield message


def _error(message: Any) -> ErrorEvent:
    """Return a modeled exception, with its JSON, or an error, which is all in the headers."""
    headers = message.headers
    said = http_response.parse(message.payload) or {}
    code = headers.get(":exception-type") or headers.get(":error-code")
    return ErrorEvent({"code": code, "message": said.get("message") or headers.get(":error-message")})


def _retry(wrapped: Any, endpoint: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Count what is sent again, and ask the budgets when the attempt before may be billed."""
    again = wrapped(*args, **kwargs)
    if again:
        try:
            call = _note_retry(*args, **kwargs)
        except Exception as error:
            internal_errors.report("counting a retry", error)
            call = None
        if call is not None:
            call.readmit()
    return again


def _note_retry(
    attempts: int, operation_model: Any, request_dict: Any, response: Any = None, caught_exception: Any = None
) -> Call | None:
    """Note a retry, given the arguments of `_needs_retry`; gives the call when the attempt before may be billed."""
    call = get_current().get(CALL_KEY)
    # A client may get its credentials from another service while it makes a call.
    if not isinstance(call, Call) or call.request != (operation_model.service_model.service_name, operation_model.name):
        return None
    answer = response[0] if response is not None else None
    return call if call.retried(answer, caught_exception) else None
