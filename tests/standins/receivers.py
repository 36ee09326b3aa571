"""A Langfuse server and an OTLP/HTTP collector on loopback, as far as a sender can tell.

Langfuse: the response table of its OTLP endpoint (`POST /api/public/otel/v1/traces`), as observed on a server
of version 4.16. Every request is decoded with the protocol's own messages.
"""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from .faults import Fault


def plain(value: AnyValue) -> Any:
    """The Python value of a protocol value."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [plain(inner) for inner in value.array_value.values]
    if kind == "kvlist_value":
        return as_dict(value.kvlist_value.values)
    return getattr(value, kind)


def as_dict(attributes: Any) -> dict[str, Any]:
    """Protocol attributes as a dictionary."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: plain(pair.value) for pair in pairs}


@dataclass(frozen=True)
class Sent:
    """One span as it arrived."""

    span: Span
    scope: str
    resource: dict[str, Any]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Its attributes."""
        return as_dict(self.span.attributes)

    @property
    def name(self) -> str:
        """Its name."""
        return self.span.name

    @property
    def key(self) -> tuple[str, str]:
        """Trace and span id, as hex."""
        return self.span.trace_id.hex(), self.span.span_id.hex()

    @property
    def parent(self) -> str:
        """The parent's span id, as hex; empty for none."""
        return self.span.parent_span_id.hex()


@dataclass(frozen=True)
class Request:
    """One request as it arrived, and the status it was answered with (0: not at all)."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    kept: bool

    @cached_property
    def content(self) -> bytes:
        """The body without its compression."""
        encoding = self.headers.get("content-encoding", "")
        if encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if encoding == "deflate" else self.body

    @cached_property
    def spans(self) -> list[Sent]:
        """The spans in it."""
        request = ExportTraceServiceRequest.FromString(self.content)
        return [
            Sent(span, scope.scope.name, as_dict(resource.resource.attributes))
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@dataclass
class Receiver:
    """A server on loopback. It can be stopped and started again at the same address."""

    max_bytes: int | None = None
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._faults: deque[Fault] = deque()
        self._always: Fault | None = None
        self._server: _Server | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._port = 0
        self.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen."""
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and close every connection."""
        if self._server is not None:
            self._stopping.set()
            self._server.shutdown()
            self._server.close_all()
            self._server.server_close()
            self._server = None

    def next(self, *faults: Fault) -> None:
        """Answer the next requests with these faults, one each."""
        self._faults.extend(faults)

    def always(self, fault: Fault | None) -> None:
        """Answer every request with a fault, or with `None` properly again."""
        self._always = fault

    def traces(self) -> list[Request]:
        """The trace requests that were kept."""
        return [request for request in self.requests if request.kept and request.path.endswith("/v1/traces")]

    def spans(self) -> list[Sent]:
        """Every span kept, as often as it arrived."""
        return [span for request in self.traces() for span in request.spans]

    def by_name(self) -> dict[str, Sent]:
        """The spans kept, by their names, which must differ."""
        spans = {span.key: span for span in self.spans()}
        named = {span.name: span for span in spans.values()}
        assert len(named) == len(spans), "two spans have the same name"
        return named

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each span arrived, by trace and span id."""
        return Counter(span.key for span in self.spans())

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Wait until a request has made `condition` true."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    # What the handler calls

    def fault(self) -> Fault | None:
        """The fault for this request."""
        return self._faults.popleft() if self._faults else self._always

    def arrived(self, request: Request) -> None:
        """Note a request."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        """Status, content type and body of the proper answer."""
        if request.path == "/v1/metrics":
            ExportMetricsServiceRequest.FromString(request.content)
        elif request.path == "/v1/logs":
            ExportLogsServiceRequest.FromString(request.content)
        elif request.path == "/v1/traces":
            ExportTraceServiceRequest.FromString(request.content)
        else:
            return 404, "text/plain", b"not found"
        return 200, "application/x-protobuf", self.response.SerializeToString()

    response = ExportTraceServiceResponse()


class Collector(Receiver):
    """An OTLP/HTTP collector. `response` is what it answers; change it for a partial success."""

    @property
    def url(self) -> str:
        """The address for traces."""
        return f"{self.base_url}/v1/traces"


@dataclass
class Langfuse(Receiver):
    """A Langfuse server with one project. One older than 4.59 refuses lists of scores (`takes_lists`)."""

    public_key: str = "pk-lf-standin"
    secret_key: str = "sk-lf-standin-secret"
    takes_lists: bool = True

    def answer(self, request: Request) -> tuple[int, str, bytes]:
        """The answer of the response table."""
        if request.path == "/api/public/otel/v1/metrics":
            return 200, "application/json", b'{"message":"OK"}'
        if request.path == "/api/public/scores":
            return self._scored(request)
        if request.path != "/api/public/otel/v1/traces":
            return 404, "text/html", b"<html>not found</html>"
        status, message = self._refusal(request)
        if status:
            return status, "application/json", json.dumps({"message": message}).encode()
        return 200, "application/json", json.dumps({"name": "otel-ingestion-job", "id": len(self.requests)}).encode()

    def scores(self) -> list[dict[str, Any]]:
        """Every score accepted, as often as it arrived."""
        taken = [one for one in self.requests if one.path == "/api/public/scores" and one.status == 202]
        return [score for request in taken for score in json.loads(request.content)]

    def _scored(self, request: Request) -> tuple[int, str, bytes]:
        status, message = self._denial(request)
        if not status:
            accepted = self.takes_lists and isinstance(json.loads(request.content), list)
            status, message = (202, "Accepted") if accepted else (400, "Invalid request data")
        return status, "application/json", json.dumps({"message": message}).encode()

    def _denial(self, request: Request) -> tuple[int, str]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return 403, "Access denied"
        expected = base64.b64encode(f"{self.public_key}:{self.secret_key}".encode()).decode()
        if scheme != "Basic" or token != expected:
            return 401, "Invalid credentials. Confirm that you've configured the correct host."
        return 0, ""

    def _refusal(self, request: Request) -> tuple[int, str]:
        status, message = self._denial(request)
        if status:
            return status, message
        headers = request.headers
        version = headers.get("x-langfuse-ingestion-version", "4")
        if not version.isdigit() or int(version) > 4:
            return 400, 'Maximum supported: "4"'
        if headers.get("content-type") != "application/x-protobuf":
            return 400, "Invalid content type"
        if headers.get("content-encoding", "") not in ("", "gzip"):
            return 400, "Failed to parse OTel Protobuf Trace"
        try:
            spans = request.spans
        except (DecodeError, OSError, EOFError, zlib.error):
            return 400, "Failed to parse OTel Protobuf Trace"
        if any(len(sent.span.trace_id) != 16 or len(sent.span.span_id) != 8 for sent in spans):
            return 400, "Invalid trace or span id"
        return 0, ""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self._open: set[Any] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def close_all(self) -> None:
        for connection in list(self._open):
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that hangs up is no news."""


def _handler(receiver: Receiver) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Answers go out in one packet: head and body apart would wait for each other's acknowledgement.
        wbufsize = -1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault = receiver.fault()
            if fault is not None:
                receiver.arrived(Request(self.path, headers, body, getattr(fault, "status", 0), fault.keeps))
                fault.answer(self, receiver._stopping)
                return
            request = Request(self.path, headers, body, 0, False)
            if receiver.max_bytes is not None and len(request.content) > receiver.max_bytes:
                status, kind, content = 413, "text/plain", b"request entity too large"
            else:
                status, kind, content = receiver.answer(request)
            receiver.arrived(Request(self.path, headers, body, status, status == 200))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.send_response(405)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Print nothing."""

    return Handler
