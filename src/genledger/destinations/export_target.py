"""Where telemetry is sent to, in a form that can be compared: nothing is sent to one place twice."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from genledger.shared.private_attributes import otlp_address

_ABOUT_THE_BODY = frozenset({"content-type", "content-encoding", "user-agent"})
_OTHER_PORT = {4317: 4318, 4318: 4317}
"""A collector's standard ports: what comes in at one of them by gRPC comes in at the other by HTTP."""


class ExportTarget(NamedTuple):
    """A receiver of telemetry, as HTTP names it. Make one with `of`.

    Attributes:
        host: In lower case; every name of this machine is `localhost`.
        port: The receiver's port.
        path: Path and query, without a slash at the end.
        headers: What is sent with every request, names in lower case.
    """

    host: str
    port: int | None
    path: str
    headers: Mapping[str, str]

    @classmethod
    def of(
        cls,
        address: str,
        protocol: Literal["grpc", "http/protobuf"],
        headers: Mapping[str, str],
        signal: str = "traces",
    ) -> ExportTarget:
        """Return the target of an address. `signal` stands for the path that gRPC does not have."""
        try:
            parts = urlsplit(address if "://" in address else f"//{address}")
            port = parts.port
        except ValueError:
            return cls(address, None, "", {})
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if protocol == "grpc":
            port = _OTHER_PORT.get(port or 443, port or 443)
            path = f"/v1/{signal}"
        own = {name.lower(): value for name, value in headers.items() if name.lower() not in _ABOUT_THE_BODY}
        return cls(_host(parts.hostname or ""), port or (80 if parts.scheme == "http" else 443), path.rstrip("/"), own)

    def is_target_of(self, exporter: Any, signal: str = "traces") -> bool:
        """Return whether an exporter sends here, with no header of another value: that may mean another account."""
        theirs = getattr(exporter, "target", None)
        if not isinstance(theirs, ExportTarget):
            found = otlp_address(exporter)
            if found is None:
                return False
            theirs = ExportTarget.of(*found, signal)
        return self.is_same(theirs)

    def is_same(self, other: ExportTarget) -> bool:
        """Return whether both are one receiver, with no header that both name with different values."""
        return self[:3] == other[:3] and all(
            self.headers[name] == other.headers[name] for name in self.headers.keys() & other.headers.keys()
        )


def _host(name: str) -> str:
    name = name.rstrip(".").lower()
    try:
        here = ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        here = name == "localhost" or name.endswith(".localhost")
    return "localhost" if here else name
