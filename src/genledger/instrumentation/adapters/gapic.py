"""Clients that Google generates for its services: `google.cloud.<service>`, over gRPC or REST.

Their methods take the request as a message, as a mapping, or by its fields, and give back messages. Whichever way it
is given, the message that is sent is made here, once, and budgets' changes are written into a copy of it.
https://googleapis.dev/python/google-api-core/latest
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, get_args

from genledger.engine.call import Call
from genledger.engine.driver import Arguments, Exchange
from genledger.engine.operation import Body, Endpoint, Operation
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.grpc import endpoint_of
from genledger.instrumentation.adapters.methods import driven, named_arguments
from genledger.instrumentation.adapters.protobuf_json import as_json, copied, message_of
from genledger.instrumentation.adapters.stream_objects import StreamClasses
from genledger.instrumentation.patching import Patch, Patches, Wrapper

_SETTINGS = ("retry", "timeout", "metadata")
"""The arguments of a method that are not of the request."""


@dataclass(frozen=True, slots=True)
class GapicClient:
    """A service's clients.

    Args:
        library: The library's name for users.
        classes: The class, by the module that it is in, synchronous and not.
        operations: The operation of each method, by what is asked; `None` for what is no call.
        provider: Who answers.
        body: Makes the request, as the operation reads it, of the JSON of its message.
        write: Makes the changes of the message, by its JSON names, of those of the request and that JSON.
        stream_classes: The classes of streams that were seen.
    """

    library: str
    classes: Mapping[str, str]
    operations: Mapping[str, Callable[[Body], Operation | None]]
    provider: str
    body: Callable[[Body], Body]
    write: Callable[[Body, Mapping[str, Any]], Mapping[str, Any]]
    stream_classes: StreamClasses = field(default_factory=StreamClasses)

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        patches: Patches = [
            Patch(module, f"{cls}.{name}", self._wrapper(name), optional=True)
            for module, cls in self.classes.items()
            for name in self.operations
        ]
        return [*patches, *map(self.stream_classes.hook, self.classes)]

    def endpoint(self, client: Any) -> Endpoint:
        """Return the server that a client talks to."""
        transport = client.transport
        if not _is_grpc(client):
            host = transport.host
            return Endpoint.at(self.provider, host if "://" in host else f"https://{host}")
        found = endpoint_of(self.provider, transport.grpc_channel)
        return found if found.host is None else found._replace(base_url=f"https://{found.host}")

    def _wrapper(self, name: str) -> Wrapper:
        def open_call(
            recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> GapicExchange | None:
            given = named_arguments(wrapped, args, kwargs)
            message = _message(wrapped, given)
            if message is None:
                return None
            asked = as_json(message)
            body = self.body(asked)
            operation = self.operations[name](body)
            if operation is None:
                return None
            streamed = name.startswith("stream_")
            call = recorder.open(operation, self.library, self.endpoint(instance), body, streamed=streamed)
            if call is None:
                return None
            settings = {name: given[name] for name in _SETTINGS if name in given}
            return GapicExchange(call, self, message, settings, grpc=_is_grpc(instance))

        return driven(open_call)


class GapicExchange(Exchange):
    """One request, and the message or the stream of messages that answers it.

    Args:
        call: The open call.
        client: The description of the service.
        message: The request.
        settings: The arguments that are not of the request.
        grpc: Whether it is sent over gRPC.
    """

    __slots__ = ("_client", "_grpc", "_message", "_settings")

    def __init__(self, call: Call, client: GapicClient, message: Any, settings: dict[str, Any], *, grpc: bool) -> None:
        super().__init__(call)
        self._client = client
        self._message = message
        self._settings = settings
        self._grpc = grpc

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments to send: the message with the changes written into it."""
        if self._grpc:
            # Whatever fails from here on without a code, it may be billed: a call without connection has a code.
            self.call.fate = "lost"
        message = self._message
        if changes := self.call.changes:
            changes = self._client.write(as_json(message), changes)
            message = type(message)(message)
            for path, value in changes.items():
                _set(message_of(message), path, value)
        return (), {"request": message, **self._settings}

    def receive(self, result: Any) -> Any:
        """Settle the call with the message, or follow the stream."""
        call, client = self.call, self._client
        accumulate = call.operation.accumulate
        if call.streamed and accumulate is not None:
            accumulator = accumulate(call.body, call.recorder.capture is not None)
            client.stream_classes.follow(call, result, accumulator, read=copied)
        else:
            call.settle(as_json(result))
        return result


def _is_grpc(client: Any) -> bool:
    return str(client.transport.kind).startswith("grpc")


def _message(method: Any, given: Mapping[str, Any]) -> Any:
    """Return the message that a method sends, made as it makes it; `None` for what it will not take."""
    request, kind = given.get("request"), _request_type(getattr(method, "__func__", method))
    fields = {name: value for name, value in given.items() if name not in ("request", *_SETTINGS) and value is not None}
    if kind is None or (request is not None and fields):
        return None
    if isinstance(request, kind):
        return request
    try:
        message = kind(request)
        for name, value in fields.items():
            repeated = getattr(getattr(message, name), "extend", None)
            if repeated is not None:
                repeated(value)
            else:
                setattr(message, name, value)
    except (AttributeError, TypeError, ValueError):
        return None
    return message


@lru_cache(256)
def _request_type(method: Any) -> Any:
    """Return the class of a method's request: generated methods have it in their annotations."""
    annotation = inspect.signature(method).parameters["request"].annotation
    return next((one for one in get_args(annotation) if hasattr(one, "pb")), None)


def _set(message: Any, path: str, value: Any) -> None:
    """Set a field of a message, by the path of its JSON names."""
    *outer, last = path.split(".")
    for name in outer:
        message = getattr(message, _name(message, name))
    setattr(message, _name(message, last), value)


def _name(message: Any, json_name: str) -> str:
    return next(field.name for field in message.DESCRIPTOR.fields if field.json_name == json_name)
