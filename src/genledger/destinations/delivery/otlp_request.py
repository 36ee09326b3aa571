"""Trace requests as bytes: encoding, splitting by size, trimming what is too big even alone.

The bytes of a request are made once, by OpenTelemetry's own encoder, and are the same on every attempt: to
a receiver that replaces by span id, a repeated request changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

KEPT_CHARACTERS = 1024
"""Characters that a trimmed value keeps at its head, and again at its tail."""


def encode(spans: Sequence[ReadableSpan]) -> bytes:
    """One serialized trace request holding `spans`."""
    return encode_spans(spans).SerializeToString()


def pack(spans: Sequence[ReadableSpan], limit: int) -> Iterator[tuple[bytes, int]]:
    """Serialized requests of at most `limit` bytes each, with the number of spans in each.

    A span that is larger alone is trimmed: its longest values keep head and tail. What cannot be made small
    enough comes out as it is; the receiver decides.
    """
    data = encode(spans)
    if len(data) <= limit:
        yield data, len(spans)
    elif len(spans) == 1:
        yield trim(data, limit) or data, 1
    else:
        middle = len(spans) // 2
        yield from pack(spans[:middle], limit)
        yield from pack(spans[middle:], limit)


def spans_in(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Every span of a request."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


def halve(data: bytes) -> tuple[tuple[bytes, int], tuple[bytes, int]] | None:
    """The same spans in two requests, each with its count; `None` for a request of a single span."""
    request = ExportTraceServiceRequest.FromString(data)
    total = sum(1 for _ in spans_in(request))
    if total < 2:
        return None
    first, second = ExportTraceServiceRequest(), ExportTraceServiceRequest()
    left = total // 2
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            cut = min(left, len(scope.spans))
            left -= cut
            for half, spans in ((first, scope.spans[:cut]), (second, scope.spans[cut:])):
                if spans:
                    target = half.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
                    target.scope_spans.add(scope=scope.scope, spans=spans, schema_url=scope.schema_url)
    return (first.SerializeToString(), total // 2), (second.SerializeToString(), total - total // 2)


def trim(data: bytes, limit: int) -> bytes | None:
    """A request of at most `limit` bytes in which the longest values of the spans keep head and tail only.

    `None` when there is nothing left to shorten.
    """
    request = ExportTraceServiceRequest.FromString(data)
    values = sorted(_values(request), key=AnyValue.ByteSize, reverse=True)
    excess = len(data) - limit
    changed = False
    for value in values:
        if excess <= 0:
            break
        before = value.ByteSize()
        if not _shorten(value):
            break
        changed = True
        excess -= before - value.ByteSize()
    return request.SerializeToString() if changed else None


def _values(request: ExportTraceServiceRequest) -> Iterator[AnyValue]:
    for span in spans_in(request):
        for attribute in span.attributes:
            yield attribute.value
        for event in span.events:
            for attribute in event.attributes:
                yield attribute.value


def _shorten(value: AnyValue) -> bool:
    if value.HasField("string_value"):
        text = value.string_value
        left_out = len(text) - 2 * KEPT_CHARACTERS
        if left_out <= 0:
            return False
        value.string_value = f"{text[:KEPT_CHARACTERS]}…[{left_out} characters left out]…{text[-KEPT_CHARACTERS:]}"
        return True
    size = value.ByteSize()
    if size <= 2 * KEPT_CHARACTERS:
        return False
    value.string_value = f"[{size} bytes left out]"
    return True
