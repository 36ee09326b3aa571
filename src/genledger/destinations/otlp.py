"""Any OTLP endpoint as a destination: everything, in the clean conventions, over HTTP or gRPC.

The `OTEL_EXPORTER_OTLP_*` variables mean what the OpenTelemetry specification says, with the variants for
traces (`OTEL_EXPORTER_OTLP_TRACES_*`) first. Metrics and logs go through OpenTelemetry's own exporters.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.trace import ReadableSpan

from .addresses import check_http_url
from .clock import SYSTEM_CLOCK, Clock
from .destination import Destination, OneReceiver, Storage
from .errors import ConfigurationError
from .intake import Ended
from .pipeline import Delivery, Limits
from .sender import Compression, HttpSender, Sender

if TYPE_CHECKING:
    pass

Protocol = Literal["http/protobuf", "grpc"]

_GRPC_PORT = 4317
_DEFAULT_ENDPOINTS: Mapping[str, str] = {"http/protobuf": "http://localhost:4318", "grpc": "http://localhost:4317"}


@dataclass(slots=True, frozen=True)
class OtlpEndpoint:
    """One OTLP receiver of traces. The headers show in no representation.

    Attributes:
        url: With HTTP the full address, path included; with gRPC scheme, host and port.
        protocol: `http/protobuf` or `grpc`.
        headers: Sent with every request; with gRPC as metadata.
        compression: `gzip`, `deflate` (HTTP only) or `none`.
        certificate: File with the authority's certificate, for TLS.
        client_certificate: File with our own certificate; with `client_key`, for mutual TLS.
        client_key: File with our own key.
        timeout_s: Seconds that one attempt may take.

    Raises:
        ConfigurationError: The address does not fit the protocol, or a certificate file is not there.
    """

    url: str
    protocol: Protocol = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: Compression = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        check_http_url(self.url, "OTLP: the endpoint")
        if self.protocol == "grpc":
            if urlsplit(self.url).path not in ("", "/"):
                raise ConfigurationError(
                    f"OTLP: {self.url!r} has a path, which gRPC does not know; "
                    "leave it out, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
                )
            if self.compression == "deflate":
                raise ConfigurationError("OTLP: gRPC has no compression 'deflate'; use gzip or none")
        for file in (self.certificate, self.client_certificate, self.client_key):
            if file is not None and not Path(file).is_file():
                raise ConfigurationError(f"OTLP: certificate file {file!r} is not there")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, endpoint: str | None = None) -> OtlpEndpoint:
        """The receiver that the `OTEL_EXPORTER_OTLP_*` variables name.

        `endpoint` stands for `OTEL_EXPORTER_OTLP_ENDPOINT` where the application gives it itself. Without a
        protocol, port 4317 means gRPC, everything else HTTP (the specification's default).

        Raises:
            ConfigurationError: A variable has a value that means nothing; the message names it.
        """
        common = endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
        specific = (None if endpoint else environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) or None
        protocol = _protocol(environ, specific or common)
        url = specific or common or _DEFAULT_ENDPOINTS[protocol]
        if protocol == "grpc":
            if "://" not in url:
                insecure = _value(environ, "INSECURE") or "false"
                url = f"{'http' if insecure.lower() == 'true' else 'https'}://{url}"
        elif specific is None:
            url = f"{url.rstrip('/')}/v1/traces"
        return cls(
            url,
            protocol,
            _headers(environ),
            _compression(environ),
            _value(environ, "CERTIFICATE"),
            _value(environ, "CLIENT_CERTIFICATE"),
            _value(environ, "CLIENT_KEY"),
            _timeout(environ),
        )

    def sender(self) -> Sender:
        """The sender for this endpoint."""
        if self.protocol == "grpc":
            from .grpc_sender import GrpcSender

            return GrpcSender(
                self.url,
                self.headers,
                compressed=self.compression == "gzip",
                certificate=self.certificate,
                client_certificate=self.client_certificate,
                client_key=self.client_key,
            )
        own: str | tuple[str, str] | None = self.client_certificate
        if self.client_certificate and self.client_key:
            own = (self.client_certificate, self.client_key)
        return HttpSender(
            self.url,
            self.headers,
            compression=self.compression,
            verify=self.certificate or True,
            certificate=own,
        )


def is_configured(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether an OTLP endpoint for traces is named in the environment."""
    return bool(environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _value(environ: Mapping[str, str], name: str) -> str | None:
    return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _protocol(environ: Mapping[str, str], url: str | None) -> Protocol:
    value = (_value(environ, "PROTOCOL") or "").strip().lower()
    if not value:
        try:
            port = urlsplit(url or "").port
        except ValueError:
            port = None
        return "grpc" if port == _GRPC_PORT else "http/protobuf"
    if value == "grpc":
        return "grpc"
    if value == "http/protobuf":
        return "http/protobuf"
    raise ConfigurationError(f"OTLP: OTEL_EXPORTER_OTLP_PROTOCOL={value!r} is not known; use http/protobuf or grpc")


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, pair in enumerate((_value(environ, "HEADERS") or "").split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            # Not shown: it may be a credential.
            raise ConfigurationError(f"OTLP: entry {number} of OTEL_EXPORTER_OTLP_HEADERS is not like name=value")
        headers[unquote(name).strip().lower()] = unquote(value).strip()
    return headers


def _compression(environ: Mapping[str, str]) -> Compression:
    value = (_value(environ, "COMPRESSION") or "none").strip().lower()
    known: tuple[Compression, ...] = ("none", "gzip", "deflate")
    for compression in known:
        if value == compression:
            return compression
    raise ConfigurationError(f"OTLP: OTEL_EXPORTER_OTLP_COMPRESSION={value!r} is not known; use gzip, deflate or none")


def _timeout(environ: Mapping[str, str]) -> float:
    """Seconds. The specification counts milliseconds, OpenTelemetry's Python exporters seconds: a number of
    100 or more can only be meant as milliseconds, a smaller one only as seconds."""  # fmt: skip
    value = _value(environ, "TIMEOUT")
    if value is None:
        return 10.0
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"OTLP: OTEL_EXPORTER_OTLP_TIMEOUT={value!r} is not a positive number")
    return number / 1000.0 if number >= 100 else number


class OtlpDestination(Destination):
    """One OTLP endpoint for traces; it gets every span as it is.

    Args:
        endpoint: Where it is.
        limits: Bounds of queue, batches and time; `timeout_s` of the endpoint takes the place of theirs.
        storage: Where undelivered batches wait.
        name: What logs and metrics call it.
    """

    def __init__(
        self,
        endpoint: OtlpEndpoint,
        *,
        limits: Limits | None = None,
        storage: Storage | None = None,
        name: str = "otlp",
        clock: Clock = SYSTEM_CLOCK,
        threaded: bool = True,
    ) -> None:
        spool, journal = (storage or Storage()).open(name, endpoint.url, clock)
        delivery = Delivery(
            name,
            endpoint.sender(),
            _as_it_is,
            limits=replace(limits or Limits(), timeout_s=endpoint.timeout_s),
            spool=spool,
            journal=journal,
            clock=clock,
            threaded=threaded,
        )
        super().__init__(name, OneReceiver(delivery), select=False, tells_ends=False, lineage=False)


def _as_it_is(item: Ended) -> ReadableSpan:
    return item.span
