"""Clients over gRPC: their methods above the stub are `Methods`; here is what gRPC adds.

Such a method reads nothing from its arguments: another method makes the message that is sent, and the answer is a
message, too. The message that a client keeps is the application's; budgets' changes are written into the one that is
made of it to be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import wrapt
from opentelemetry.context import get_current
from opentelemetry.trace import NonRecordingSpan

from genledger.engine.call import CALL_KEY, Call
from genledger.engine.operation import Endpoint
from genledger.instrumentation.patching import Hook, Patch
from genledger.shared import internal_errors

_LAYERS = 16
"""The most interceptors that are looked through for the channel under them."""


def keep(arguments: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write nothing into the arguments of a method: the message that it sends is made by `sends`."""


def sends(library: str, module: str, path: str) -> Patch:
    """Return the patch of the method that makes the message which is sent; changes are written into that message."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        message = wrapped(*args, **kwargs)
        try:
            call = _current(library)
            if call is not None:
                # Whatever fails from here on without a code, it may be billed: a call without connection has a code.
                call.fate = "lost"
                for name, value in call.changes.items():
                    setattr(message, name, value)
        except Exception as error:
            internal_errors.report("preparing the request", error)
        return message

    return Patch(module, path, wrapper)


def receives(library: str, module: str, path: str) -> Patch:
    """Return the patch of a function that is given each answer first: one that the client then rejects is paid for."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = _current(library)
        if call is not None and args:
            call.answered = args[0]
        return wrapped(*args, **kwargs)

    return Patch(module, path, wrapper)


def lends(library: str, module: str) -> Hook:
    """Return the hook of a module whose global `tracer` makes a span for each call: ours takes its place."""

    def install(found: ModuleType) -> None:
        found.tracer = _Lent(found.tracer, library)  # type: ignore[attr-defined]

    def remove(found: ModuleType) -> None:
        if isinstance(found.tracer, _Lent):
            found.tracer = found.tracer.__wrapped__  # type: ignore[attr-defined]

    return Hook(module, install, remove)


class _Lent(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A tracer that gives the context of our span, which keeps nothing, instead of a span of its own."""

    def __init__(self, tracer: Any, library: str) -> None:
        super().__init__(tracer)
        self._self_library = library

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Any]:
        call = _current(self._self_library)
        if call is not None:
            return nullcontext(NonRecordingSpan(call.span.get_span_context()))
        return self.__wrapped__.start_as_current_span(*args, **kwargs)


def _current(library: str) -> Call | None:
    call = get_current().get(CALL_KEY)
    return call if isinstance(call, Call) and call.library == library and not call.settled else None


def endpoint_of(provider: str, method: Any) -> Endpoint:
    """Return the server that a method of a stub calls; without an address where gRPC does not say.

    Args:
        provider: Who is there.
        method: A method of the stub: `stub.GetCompletion`.
    """
    try:
        target = _target(method)
    except Exception as error:
        internal_errors.report("finding the address of a gRPC channel", error)
        target = None
    if target is None or target.startswith("unix"):
        return Endpoint(provider)
    # A target is a name, or a URI: `host:port`, `dns:///host:port`, `ipv4:127.0.0.1:443`.
    # https://github.com/grpc/grpc/blob/master/doc/naming.md
    scheme, _, rest = target.partition(":")
    name = rest if scheme in ("dns", "ipv4", "ipv6") else target
    parts = urlsplit(f"//{name.rpartition('/')[2]}")
    return Endpoint(provider, parts.hostname, parts.port or 443)


def _target(method: Any) -> str | None:
    """What a channel was made for. gRPC keeps it in private attributes; interceptors are layers around it."""
    one = method
    for _ in range(_LAYERS):
        target = getattr(one, "target", None)
        if target is not None:
            name = target() if callable(target) else target
            return name.decode() if isinstance(name, bytes) else name
        inner = getattr(one, "_channel", None)
        if inner is None:
            cells = getattr(getattr(one, "_thunk", None), "__closure__", None) or ()
            inner = next((cell.cell_contents for cell in cells if hasattr(cell.cell_contents, "_channel")), None)
        if inner is None:
            return None
        one = inner
    return None
