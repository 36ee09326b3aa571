"""Clients with one method that is given the path and the body of a request, and returns the HTTP response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import Arguments, Exchange, asynchronous, synchronous
from genledger.engine.operation import with_changes
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.retries import answering, answering_async
from genledger.instrumentation.adapters.wire import WireClient, WireExchange
from genledger.instrumentation.patching import Patch, Patches


class ResponseMethodClient:
    """The patches of one client library.

    Args:
        client: The library; its endpoints are named by their path, as the client writes it.
        modules: The module of the synchronous class, and of the other one.
        classes: Those classes.
        request: The method, whose arguments are `path`, `body` and `stream`.
        attempt: The method that it calls for each attempt, which returns a response.
    """

    def __init__(
        self, client: WireClient, modules: tuple[str, str], classes: tuple[str, str], request: str, attempt: str
    ) -> None:
        self._client = client
        self._modules = modules
        self._classes = classes
        self._request = request
        self._attempt = attempt

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        wrappers = ((synchronous(self._open), answering), (asynchronous(self._open), answering_async))
        return [
            Patch(module, f"{name}.{method}", wrapper)
            for module, name, both in zip(self._modules, self._classes, wrappers, strict=True)
            for method, wrapper in zip((self._request, self._attempt), both, strict=True)
        ]

    def _open(
        self, recorder: Recorder, wrapped: Any, http: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Exchange | None:
        given = named_arguments(wrapped, args, kwargs)
        body = given.get("body")
        operation = self._client.operations.get(given.get("path") or "")
        if operation is None or given.get("method") != "POST" or not isinstance(body, Mapping):
            return None
        endpoint = self._client.endpoint(http, str(http._base_url), http._api_key)
        # A copy: clients of a platform move fields of the body to where that platform wants them.
        asked, streamed = dict(body), bool(given.get("stream"))
        call = recorder.open(operation, self._client.library, endpoint, asked, streamed=streamed)

        def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
            return (), {**given, "body": with_changes(body, changes)}

        return WireExchange(call, write) if call is not None else None
