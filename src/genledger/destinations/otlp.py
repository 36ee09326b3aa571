"""Any OTLP endpoint as a destination: everything, in the clean conventions, over HTTP or gRPC.

The `OTEL_EXPORTER_OTLP_*` variables mean what the OpenTelemetry specification says, with the variants for
traces (`OTEL_EXPORTER_OTLP_TRACES_*`) first. Metrics and logs go through OpenTelemetry's own exporters.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack
from urllib.parse import unquote, urlsplit

from opentelemetry.sdk.trace import ReadableSpan

from genledger.destinations.delivery.delivery_stats import Limits, positive
from genledger.destinations.delivery.errors import ConfigurationError
from genledger.destinations.delivery.export_worker import ExportWorker
from genledger.destinations.delivery.http_exporter import Compression, HttpExporter, Sender
from genledger.destinations.delivery.remote_destination import (
    DeliveryOptions,
    Destination,
    OneReceiver,
    Receivers,
    open_delivery,
)
from genledger.destinations.delivery.time_source import SYSTEM_CLOCK
from genledger.destinations.delivery.validate_url import check_http_url
from genledger.destinations.export_target import ExportTarget
from genledger.destinations.selection.span_processor import FinishedSpan
from genledger.shared.addresses import without_credentials
from genledger.shared.private_attributes import otlp_address

if TYPE_CHECKING:
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader

    from genledger.destinations.connections import SessionWithDeadline
    from genledger.destinations.selection.tenant_routing import Unknown

Protocol = Literal["http/protobuf", "grpc"]

_GRPC_PORT = 4317
_DEFAULT_ENDPOINTS: Mapping[str, str] = {"http/protobuf": "http://localhost:4318", "grpc": "http://localhost:4317"}


@dataclass(slots=True, frozen=True)
class OtlpEndpoint:
    """One OTLP receiver of traces. Neither headers nor secrets of the address show in its representation.

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
    headers: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    timeout_s: float = 10.0

    def __repr__(self) -> str:
        return f"OtlpEndpoint({without_credentials(self.url)!r}, {self.protocol!r})"

    def __post_init__(self) -> None:
        check_http_url(self.url, "OTLP: the endpoint")
        if self.protocol == "grpc":
            if urlsplit(self.url).path not in ("", "/"):
                raise ConfigurationError(
                    f"OTLP: {without_credentials(self.url)!r} has a path, which gRPC does not support; "
                    "remove it, or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
                )
            if self.compression == "deflate":
                raise ConfigurationError("OTLP: gRPC does not support compression 'deflate'; use gzip or none")
        for file in (self.certificate, self.client_certificate, self.client_key):
            if file is not None and not Path(file).is_file():
                raise ConfigurationError(f"OTLP: certificate file {file!r} does not exist")

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        endpoint: str | None = None,
        protocol: Protocol | None = None,
    ) -> OtlpEndpoint:
        """The receiver that the `OTEL_EXPORTER_OTLP_*` variables name.

        `endpoint` and `protocol` take the place of `OTEL_EXPORTER_OTLP_ENDPOINT` and `…_PROTOCOL`. Without
        a protocol, port 4317 means gRPC, everything else HTTP (the specification's default).

        Raises:
            ConfigurationError: A variable has a value that means nothing; the message names it.
        """
        common = endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
        specific = (None if endpoint else environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) or None
        protocol = protocol or _protocol(environ, specific or common)
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
            _timeout(environ, "TRACES"),
        )

    @property
    def export_target(self) -> ExportTarget:
        """Return this endpoint in a form that can be compared."""
        return ExportTarget.of(self.url, self.protocol, self.headers)

    def sender(self) -> Sender:
        """Return the sender for this endpoint."""
        if self.protocol == "grpc":
            with _grpc_extra():
                from genledger.destinations.delivery.grpc_exporter import GrpcExporter

            return GrpcExporter(
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
        return HttpExporter(
            self.url,
            self.headers,
            compression=self.compression,
            verify=self.certificate or True,
            certificate=own,
        )


@contextmanager
def _grpc_extra() -> Iterator[None]:
    """Around imports of what only the extra `grpc` installs.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"OTLP over gRPC needs packages that are not installed ({error}): pip install 'genledger[grpc]', "
            "or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf and the HTTP port, 4318"
        ) from error


def is_configured(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment names an OTLP endpoint for traces."""
    return bool(environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))


def _value(environ: Mapping[str, str], name: str, signal: str = "TRACES") -> str | None:
    return environ.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None


def _protocol(environ: Mapping[str, str], url: str | None, signal: str = "TRACES") -> Protocol:
    value = (_value(environ, "PROTOCOL", signal) or "").strip().lower()
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
    raise ConfigurationError(f"OTLP: OTEL_EXPORTER_OTLP_PROTOCOL={value!r} is not supported; use http/protobuf or grpc")


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, pair in enumerate((_value(environ, "HEADERS") or "").split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            # Not shown: it may be a credential.
            raise ConfigurationError(f"OTLP: entry {number} of OTEL_EXPORTER_OTLP_HEADERS must be name=value")
        headers[unquote(name).strip().lower()] = unquote(value).strip()
    return headers


def _compression(environ: Mapping[str, str]) -> Compression:
    value = (_value(environ, "COMPRESSION") or "none").strip().lower()
    known: tuple[Compression, ...] = ("none", "gzip", "deflate")
    for compression in known:
        if value == compression:
            return compression
    raise ConfigurationError(
        f"OTLP: OTEL_EXPORTER_OTLP_COMPRESSION={value!r} is not supported; use gzip, deflate or none"
    )


def _timeout(environ: Mapping[str, str], signal: str) -> float:
    """Return seconds. The specification counts milliseconds, OpenTelemetry's Python exporters seconds: a number of
    100 or more can only be meant as milliseconds, a smaller one only as seconds."""  # fmt: skip
    name = "OTEL_EXPORTER_OTLP_TIMEOUT"
    number = positive({name: _value(environ, "TIMEOUT", signal) or ""}, name, 10.0)
    return number / 1000.0 if number >= 100 else number


class OtlpDestination(Destination):
    """An OTLP endpoint for traces; it gets every span as it is.

    Attributes:
        target: Where it sends to; `None` with `routes`, each of which is a receiver of its own.

    Args:
        endpoint: Where it is; default: what the `OTEL_EXPORTER_OTLP_*` variables name.
        protocol: Takes the place of `OTEL_EXPORTER_OTLP_PROTOCOL`.
        name: What logs and metrics call it.
        routes: Headers of a tenant, in addition to the endpoint's own: a mapping, or a function that gives
            `None` for a tenant without any.
        unknown: Where spans of no tenant, of several, or of one without a route go: to the endpoint with its
            own headers only (`default`), or nowhere (`drop`).
        operator_copy: With `routes`: a copy, without content, of what goes to a tenant is also sent with the
            endpoint's own headers only.
        pool: Tenants that are open at most with `routes`; each has a thread of its own.
        options: How to deliver. `timeout_s` of the endpoint takes the place of the limits'.

    Raises:
        ConfigurationError: The endpoint cannot work.
    """

    def __init__(
        self,
        endpoint: OtlpEndpoint | None = None,
        *,
        protocol: Protocol | None = None,
        name: str = "otlp",
        routes: Mapping[str, Mapping[str, str]] | Callable[[str], Mapping[str, str] | None] | None = None,
        unknown: Unknown = "default",
        operator_copy: bool = False,
        pool: int = 32,
        **options: Unpack[DeliveryOptions],
    ) -> None:
        target = endpoint or OtlpEndpoint.from_environment(protocol=protocol)
        clock = options.get("clock", SYSTEM_CLOCK)
        limits = options.get("limits") or Limits.from_environment()
        options["limits"] = limits._replace(timeout_s=target.timeout_s)

        def open_with(headers: Mapping[str, str], identity: str) -> ExportWorker:
            sender = replace(target, headers={**target.headers, **headers}).sender()
            return open_delivery(name, identity, sender, _as_it_is, **options)

        def open_route(tenant: str, headers: Mapping[str, str]) -> tuple[str, Callable[[], ExportWorker]]:
            identity = f"{target.url}|{tenant}"
            return identity, lambda: open_with(headers, identity)

        default = open_with({}, target.url) if routes is None or unknown == "default" else None
        receivers: Receivers
        if routes is None:
            assert default is not None
            receivers = OneReceiver(default)
        else:
            from genledger.destinations.selection.tenant_routing import TenantReceivers

            receivers = TenantReceivers(
                routes, open_route, default=default, operator_copy=operator_copy, pool=pool, clock=clock
            )
        self.target = target.export_target if routes is None else None
        super().__init__(name, receivers, select=False, tells_ends=False, lineage=routes is not None)


def _as_it_is(item: FinishedSpan) -> ReadableSpan:
    return item.span


def otlp_metric_exporter() -> MetricExporter:
    """OpenTelemetry's exporter of metrics, as the `OTEL_EXPORTER_OTLP_*` variables say.

    Raises:
        ConfigurationError: The protocol is not known, or the timeout is no number.
    """
    timeout = _timeout(os.environ, "METRICS")
    if _protocol_of("METRICS") == "grpc":
        with _grpc_extra():
            from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter(timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter(timeout=timeout, session=_session("METRICS"))


def otlp_metrics_reader() -> PeriodicExportingMetricReader:
    """Return a reader that exports metrics periodically, as the `OTEL_EXPORTER_OTLP_*` variables say.

    Raises:
        ConfigurationError: The protocol is not known, or the timeout is no number.
    """
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(otlp_metric_exporter())


def otlp_log_exporter() -> LogRecordExporter:
    """OpenTelemetry's exporter of log records, as the `OTEL_EXPORTER_OTLP_*` variables say.

    Raises:
        ConfigurationError: The protocol is not known, or the timeout is no number.
    """
    timeout = _timeout(os.environ, "LOGS")
    if _protocol_of("LOGS") == "grpc":
        with _grpc_extra():
            from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter

        return GrpcExporter(timeout=timeout)
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return OTLPLogExporter(timeout=timeout, session=_session("LOGS"))


def otlp_log_processor() -> BatchLogRecordProcessor:
    """Return a processor that exports log records in batches, as the `OTEL_EXPORTER_OTLP_*` variables say.

    Raises:
        ConfigurationError: The protocol is not known, or the timeout is no number.
    """
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    return BatchLogRecordProcessor(otlp_log_exporter())


def endpoint_of(signal: str) -> str:
    """Where a signal (`METRICS`, `LOGS`) is exported to: at least the host and port of it."""
    return _endpoint(signal) or _DEFAULT_ENDPOINTS[_protocol_of(signal)]


def others_send(exporter: object, exporters: Iterable[object], signal: str) -> bool:
    """Return whether another one of these exporters sends a signal (`metrics`, `logs`) where this one sends it."""
    others = [other for other in exporters if other is not exporter]
    found = otlp_address(exporter) if others else None
    if found is None:
        return False
    target = ExportTarget.of(*found, signal)
    return any(target.is_target_of(other, signal) for other in others)


def _endpoint(signal: str) -> str | None:
    environ = os.environ
    return environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


def _protocol_of(signal: str) -> Protocol:
    return _protocol(os.environ, _endpoint(signal), signal)


def _session(signal: str) -> SessionWithDeadline | None:
    """Return a session for an exporter, unless the environment names a provider of sessions."""
    name = "CREDENTIAL_PROVIDER"
    if any(os.environ.get(f"OTEL_PYTHON_EXPORTER_OTLP_HTTP_{part}{name}") for part in ("", f"{signal}_")):
        return None
    from genledger.destinations.connections import SessionWithDeadline

    return SessionWithDeadline()
