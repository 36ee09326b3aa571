"""An OTLP/gRPC collector on loopback."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc  # type: ignore[import-untyped, unused-ignore]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from .receivers import Sent, as_dict


class GrpcCollector(TraceServiceServicer):
    """Keeps what it is sent. `response` is what it answers; `next` makes it fail."""

    def __init__(self) -> None:
        self.spans: list[Sent] = []
        self.metadata: list[dict[str, str]] = []
        self.response = ExportTraceServiceResponse()
        self._faults: deque[tuple[grpc.StatusCode, str]] = deque()
        self._server = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call, unused-ignore]
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> GrpcCollector:
        return self

    def __exit__(self, *details: object) -> None:
        self._server.stop(None)

    def next(self, code: grpc.StatusCode, details: str = "") -> None:
        """Answer the next request with this status."""
        self._faults.append((code, details))

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """Take one request."""
        self.metadata.append(dict(context.invocation_metadata()))
        if self._faults:
            context.abort(*self._faults.popleft())
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(Sent(span, scope.scope.name, as_dict(resource.resource.attributes)))
        return self.response
