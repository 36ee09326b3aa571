"""Base for clients whose requests all pass one method that returns an HTTP response.

The method knows the request as it goes over the wire, and the answer before it is parsed. So the one method
covers every resource of the client, and the answer is read whatever the client makes of it. `speakeasy` and `fern` are
the kinds whose method is always the same, because their clients are generated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from genledger.budgets.enforcement.request import hash_api_key
from genledger.engine.call import Call, running_call
from genledger.engine.driver import Arguments, Exchange
from genledger.engine.operation import Body, Endpoint, Operation, StreamAccumulator, with_changes
from genledger.engine.outcome import ErrorAnswer
from genledger.instrumentation.adapters.http_response import tap
from genledger.instrumentation.patching import Patch
from genledger.shared import internal_errors

Write = Callable[[tuple[Any, ...], dict[str, Any], Mapping[str, Any]], Arguments]
"""`write(args, kwargs, changes)`: return the arguments with changed fields written into a copy of the request."""


@dataclass(frozen=True, slots=True)
class WireClient:
    """A client library.

    Args:
        library: The library's name for users.
        operations: Operation of each endpoint, by the client's name for the endpoint.
        provider: Returns the provider behind a client, from the called object and the host.
        model: The field of a request that names the model.
    """

    library: str
    operations: Mapping[str, Operation]
    provider: Callable[[Any, str], str]
    model: str = "model"

    def endpoint(self, client: Any, base_url: str, api_key: Any = None) -> Endpoint:
        """Return the server and provider a client is connected to."""
        found = endpoint_at("", base_url, api_key)
        return found._replace(provider=self.provider(client, found.host or ""))


def endpoint_at(provider: str, url: str, api_key: Any = None) -> Endpoint:
    """Return the endpoint at a URL that is called with a key; one without an address for an empty URL."""
    found = Endpoint.at(provider, url) if url else Endpoint(provider)
    return found._replace(api_key=hash_api_key(api_key)) if isinstance(api_key, str) and api_key else found


Reached = Callable[[Endpoint, Any, Mapping[str, Any]], Endpoint | None]
"""`reached(endpoint, instance, kwargs)`: return the endpoint that a request goes to; `None` for the one it had."""


def reaches(library: str, module: str, path: str, reached: Reached) -> Patch:
    """Return the patch of a function that knows who a request goes to: it was not known when the call began.

    Args:
        library: The library's name for users.
        module: The module that the function is in.
        path: The function.
        reached: Finds the endpoint.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            call = running_call(library)
            found = reached(call.endpoint, instance, kwargs) if call is not None else None
            if call is not None and found is not None:
                call.reaches(found)
        except Exception as error:
            internal_errors.report("noting who is called", error)
        return wrapped(*args, **kwargs)

    return Patch(module, path, wrapper)


class Paths:
    """The operations of a client's endpoints, by their paths.

    Args:
        operations: The operation at each path, in which `*` stands for a segment that varies.
    """

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self._patterns = [
            (re.compile(re.escape(path).replace(r"\*", "[^/]+")), operation)
            for path, operation in operations.items()
            if "*" in path
        ]

    def operation(self, path: str) -> Operation | None:
        """Return the operation at a path; `None` when there is none."""
        found = self._operations.get(path)
        if found is not None:
            return found
        return next((operation for pattern, operation in self._patterns if pattern.fullmatch(path)), None)


def body_of(request: Any) -> Body:
    """Return the fields of an HTTP request: those of its JSON, or those of a form that are text; else its path."""
    if request.method == "GET":
        return {"path": request.url.path}
    if "json" in request.headers.get("content-type", ""):
        body = orjson.loads(request.content)
        return body if isinstance(body, dict) else {}
    fields = getattr(request.stream, "fields", ())
    return {one.name: one.value for one in fields if isinstance(getattr(one, "value", None), str)}


def request_with(request: Any, body: Body, changes: Mapping[str, Any]) -> Any:
    """Return a copy of an HTTP request whose JSON is a body with changes."""
    headers = request.headers.copy()
    del headers["content-length"]
    return type(request)(
        method=request.method,
        url=request.url,
        headers=headers,
        content=orjson.dumps(with_changes(body, changes)),
        extensions=request.extensions,
    )


def content_with(content: bytes, changes: Mapping[str, Any]) -> bytes:
    """Return the content of a request that is a JSON object, with changed fields."""
    return orjson.dumps(with_changes(orjson.loads(content), changes))


class WireExchange(Exchange):
    """One request, and its HTTP response.

    Args:
        call: The open call.
        write: Writes changed fields into the arguments of the method.
    """

    __slots__ = ("_write",)

    def __init__(self, call: Call, write: Write) -> None:
        super().__init__(call)
        self._write = write

    def send(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments with the request to send."""
        changes = self.call.changes
        return self._write(args, kwargs, changes) if changes else (args, kwargs)

    def receive(self, result: Any) -> Any:
        """Settle the call with the response, or when the application has read it."""
        call = self.call
        call.headers = result.headers
        if result.status_code >= 400:
            call.settle(error=ErrorAnswer(result.status_code))
            return result
        accumulate = call.operation.accumulate if call.streamed else None
        self.read(result, accumulate(call.body, call.recorder.capture is not None) if accumulate else None)
        return result

    def read(self, response: Any, accumulator: StreamAccumulator | None) -> None:
        """Settle the call when the application has read a response."""
        tap(response, self.call, accumulator)
