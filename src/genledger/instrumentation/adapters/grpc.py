"""Clients over gRPC: their methods above the stub are `Methods`; here is what gRPC adds.

Such a method reads nothing from its arguments: another method makes the message that is sent, and the answer is a
message, too. The message that a client keeps is the application's; budgets' changes are written into the one that is
made of it to be sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.call import running_call
from genledger.engine.operation import Endpoint
from genledger.instrumentation.patching import Patch
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
            call = running_call(library)
            if call is not None:
                # Whatever fails from here on without a code, it may be billed: a call without connection has a code.
                call.fate = "lost"
                for name, value in call.changes.items():
                    setattr(message, name, value)
        except Exception as error:
            internal_errors.report("preparing the request", error)
        return message

    return Patch(module, path, wrapper)


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
    """Return the target of a channel. gRPC keeps it in private attributes; interceptors wrap the channel."""
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
