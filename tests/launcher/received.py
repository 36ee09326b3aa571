"""What arrived over OTLP, as the SDK's objects again, for the checker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from genledger_semconv import SCHEMA_URL

from ..standins.receivers import Receiver, Sent, as_dict


def _context(trace_id: bytes, span_id: bytes) -> SpanContext:
    return SpanContext(int.from_bytes(trace_id), int.from_bytes(span_id), is_remote=False)


def _values(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}


def readable(sent: Iterable[Sent]) -> list[ReadableSpan]:
    """Spans as they were before they were sent."""
    return [
        ReadableSpan(
            one.name,
            _context(one.span.trace_id, one.span.span_id),
            _context(one.span.trace_id, one.span.parent_span_id) if one.span.parent_span_id else None,
            attributes=_values(one.attributes),
            kind=SpanKind(one.span.kind - 1),
            status=Status(StatusCode(one.span.status.code), one.span.status.message or None),
            instrumentation_scope=InstrumentationScope(one.scope, None, SCHEMA_URL),
            start_time=one.span.start_time_unix_nano,
            end_time=one.span.end_time_unix_nano,
        )
        for one in sent
    ]


def metrics_of(receiver: Receiver) -> MetricsData:
    """The metrics of every kept request."""
    found = []
    for request in receiver.requests:
        if request.kept and request.path == "/v1/metrics":
            for resource in ExportMetricsServiceRequest.FromString(request.content).resource_metrics:
                scopes = [
                    ScopeMetrics(
                        InstrumentationScope(scope.scope.name, scope.scope.version, scope.schema_url),
                        list(_metrics(scope.metrics)),
                        scope.schema_url,
                    )
                    for scope in resource.scope_metrics
                ]
                found.append(ResourceMetrics(Resource(as_dict(resource.resource.attributes)), scopes, ""))
    return MetricsData(found)


def _metrics(metrics: Any) -> Iterator[Metric]:
    for metric in metrics:
        if metric.HasField("sum"):
            numbers = [
                NumberDataPoint(
                    _values(as_dict(point.attributes)),
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    getattr(point, point.WhichOneof("value")),
                )
                for point in metric.sum.data_points
            ]
            temporality = AggregationTemporality(metric.sum.aggregation_temporality)
            yield Metric(
                metric.name, metric.description, metric.unit, Sum(numbers, temporality, metric.sum.is_monotonic)
            )
        elif metric.HasField("histogram"):
            whole = metric.unit == "{token}"  # the protocol has only doubles for sums
            histograms = [
                HistogramDataPoint(
                    _values(as_dict(point.attributes)),
                    point.start_time_unix_nano,
                    point.time_unix_nano,
                    point.count,
                    int(point.sum) if whole else point.sum,
                    list(point.bucket_counts),
                    list(point.explicit_bounds),
                    point.min,
                    point.max,
                )
                for point in metric.histogram.data_points
            ]
            temporality = AggregationTemporality(metric.histogram.aggregation_temporality)
            yield Metric(metric.name, metric.description, metric.unit, Histogram(histograms, temporality))
