"""Streams that a client opens with httpx-sse: a context manager gives the events of a response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from genledger.engine.driver import Arguments, entering, entering_async, in_callers_context
from genledger.engine.operation import Body, Endpoint, Operation
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.methods import Write, named_arguments
from genledger.instrumentation.adapters.wire import WireExchange
from genledger.instrumentation.patching import Patch, Patches


@dataclass(frozen=True, slots=True)
class EventSources:
    """A module that has imported httpx-sse's functions, and generator functions of its own that call them.

    Args:
        library: The library's name for users.
        module: The module.
        generators: Its generator functions, synchronous or not: a stream belongs to who called one.
        operation: The operation of a stream.
        endpoint: Finds the endpoint of a request, from `None` and its named arguments.
        body: Makes the request, by the provider's names, from the named arguments.
        write: Writes changed fields of the request back into the named arguments.
    """

    library: str
    module: str
    generators: tuple[str, ...]
    operation: Operation
    endpoint: Callable[[Any, dict[str, Any]], Endpoint]
    body: Callable[[dict[str, Any]], Body]
    write: Write

    def patches(self) -> Patches:
        """Return what to patch, and with what."""
        return [
            Patch(self.module, "connect_sse", entering(self._open), optional=True),
            Patch(self.module, "aconnect_sse", entering_async(self._open), optional=True),
            *(Patch(self.module, path, in_callers_context, optional=True) for path in self.generators),
        ]

    def _open(
        self, recorder: Recorder, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> EventSourceExchange | None:
        given = named_arguments(wrapped, args, kwargs)
        endpoint, body = self.endpoint(None, given), self.body(given)
        call = recorder.open(self.operation, self.library, endpoint, body, streamed=True)

        def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
            sent = dict(given)
            self.write(sent, changes)
            return (), sent

        return EventSourceExchange(call, write) if call is not None else None


class EventSourceExchange(WireExchange):
    """One request, and the events of its response."""

    __slots__ = ()

    def receive(self, result: Any) -> Any:
        """Settle the call when the application has read the events."""
        super().receive(result.response)
        return result
