"""Clients with one method that is given the path and the body of a request, and returns the HTTP response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genledger.engine.driver import Arguments, Exchange, asynchronous, synchronous
from genledger.engine.operation import Operation, with_changes
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.retries import answers
from genledger.instrumentation.adapters.wire import WireClient, WireExchange
from genledger.instrumentation.patching import Patch, Patches


class ResponseMethodClient:
    """The patches of one client library.

    Args:
        client: The library.
        operation: Returns the operation of an endpoint from its HTTP method, in lower case, and path, or `None`.
        modules: The module of the synchronous class, and of the other one.
        classes: Those classes.
        request: The method, whose arguments are `path`, `body` and `stream`.
        attempt: The method that it calls for each attempt, which returns a response.
    """

    def __init__(
        self,
        client: WireClient,
        operation: Callable[[str, str], Operation | None],
        modules: tuple[str, str],
        classes: tuple[str, str],
        request: str,
        attempt: str,
    ) -> None:
        self._client = client
        self._operation = operation
        self._modules = modules
        self._classes = classes
        self._request = request
        self._attempt = attempt

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        drivers = (synchronous(self._open), asynchronous(self._open))
        places = tuple(zip(self._modules, self._classes, strict=True))
        return [
            *(Patch(at, f"{name}.{self._request}", one) for (at, name), one in zip(places, drivers, strict=True)),
            *(answers(self._client.library, at, f"{name}.{self._attempt}") for at, name in places),
        ]

    def _open(
        self, recorder: Recorder, wrapped: Any, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        given = named_arguments(wrapped, args, kwargs)
        method, path = str(given.get("method")).lower(), given.get("path") or ""
        body = given.get("body") if method == "post" else {"path": path}
        operation = self._operation(method, path)
        if operation is None or not isinstance(body, Mapping):
            return None
        endpoint, batch = self._client.endpoint(http, str(http._base_url), http._api_key), operation.batch
        if batch is not None and not recorder.batches.expects(batch, endpoint.provider, body):
            return None
        # A copy: clients of a platform move fields of the body to where that platform wants them.
        asked, streamed = dict(body), bool(given.get("stream"))
        call = recorder.open(operation, self._client.library, endpoint, asked, streamed=streamed)

        def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
            return (), {**given, "body": with_changes(body, changes)}

        return WireExchange(call, write) if call is not None else None
