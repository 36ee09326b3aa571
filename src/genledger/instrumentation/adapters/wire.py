"""Base for clients whose requests all pass one method that returns an HTTP response.

The method knows the request as it goes over the wire, and the answer before it is parsed. So the one method
covers every resource of the client, and the answer is read whatever the client makes of it. `speakeasy` and `fern` are
the kinds whose method is always the same, because their clients are generated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genledger.budgets.enforcement.request import hash_api_key
from genledger.engine.call import Call
from genledger.engine.driver import Arguments, Exchange
from genledger.engine.operation import Endpoint, Operation
from genledger.engine.outcome import ErrorAnswer
from genledger.instrumentation.adapters.http_response import tap

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
        accumulate = call.operation.accumulate
        tap(
            result,
            call,
            accumulate(call.body, call.recorder.capture is not None) if call.streamed and accumulate else None,
        )
        return result
