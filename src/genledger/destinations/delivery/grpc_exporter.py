"""Send the bytes of a trace request over OTLP/gRPC, and classify the response.

The channel carries the bytes as they are. The stock exporter would encode spans anew on every attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped, unused-ignore]
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped, unused-ignore]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped, unused-ignore]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from genledger.destinations.delivery.http_exporter import LONGEST_PAUSE_S, Answer, Sender, secrets_of

_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

_FINAL = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Codes after which the same request will not be taken either. OTLP calls INTERNAL and UNKNOWN final, too;
they are what a proxy in trouble answers, the 500 of gRPC, so they are tried again here."""


class GrpcExporter(Sender):
    """OTLP over gRPC."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        compressed: bool = False,
        certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        self.endpoint = f"{parts.scheme}://{parts.netloc}"
        self._target = parts.netloc
        self._tls = parts.scheme == "https"
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self._compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        self._files = (certificate, client_key, client_certificate)
        self._secrets = secrets_of(headers)
        self._channel: grpc.Channel | None = None
        self._call: Any = None

    def __repr__(self) -> str:
        return f"GrpcExporter({self.endpoint!r})"

    def _exchange(self, data: bytes, timeout_s: float) -> Callable[[], Answer]:
        call = self._call or self._connect()

        def exchange() -> Answer:
            try:
                partial = call(data, metadata=self._metadata, timeout=timeout_s).partial_success
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and self._call is call:
                    # A channel that has failed waits longer and longer by itself; the pauses are decided here.
                    self._disconnect()
                return self._read(error, timeout_s)
            if not partial.rejected_spans:
                return Answer("delivered")
            detail = f"took all but {partial.rejected_spans} spans: {self._clean(partial.error_message)}"
            return Answer("delivered", "rejected", detail, rejected=partial.rejected_spans)

        return exchange

    def _connect(self) -> Any:
        options = (("grpc.primary_user_agent", "genledger"),)
        if self._tls:
            contents = [Path(file).read_bytes() if file else None for file in self._files]
            credentials = grpc.ssl_channel_credentials(*contents)
            self._channel = grpc.secure_channel(self._target, credentials, options, self._compression)
        else:
            self._channel = grpc.insecure_channel(self._target, options, self._compression)
        self._call = self._channel.unary_unary(
            _EXPORT, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
        )
        return self._call

    def _read(self, error: Any, timeout_s: float) -> Answer:
        code = error.code()
        reason = f"grpc_{code.name.lower()}"
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Answer("retry", "timeout", f"no answer within {timeout_s:.3g} s")
        detail = f"{code.name} {self._clean(error.details() or '')}".rstrip()
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (error.details() or ""):
            return Answer("too_large", reason, detail)
        if code in _FINAL:
            return Answer("refused", reason, detail)
        return Answer("retry", reason, detail, _pause(error))

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]

    def forget(self) -> None:
        """Drop the channel of the parent process without using it."""
        self._channel = self._call = self._attempt = None

    def _disconnect(self) -> None:
        channel, self._channel, self._call = self._channel, None, None
        if channel is not None:
            channel.close()


def _pause(error: Any) -> float | None:
    """Seconds that the receiver asks to wait (`google.rpc.RetryInfo`, as OTLP says for throttling)."""
    for name, value in error.trailing_metadata() or ():
        if name in ("google.rpc.retryinfo-bin", "grpc-status-details-bin"):
            info = RetryInfo()
            try:
                if name == "google.rpc.retryinfo-bin":
                    info.ParseFromString(value)
                else:
                    for detail in Status.FromString(value).details:
                        if detail.Unpack(info):
                            break
            except Exception:
                return None
            return min(info.retry_delay.seconds + info.retry_delay.nanos / 1e9, LONGEST_PAUSE_S) or None
    return None
