"""Telemetry made by the real SDK, for the checker to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from genledger_semconv import SCHEMA_URL

MakeSpan = Callable[..., ReadableSpan]
MakeEvent = Callable[..., ReadableLogRecord]


@pytest.fixture
def make_span() -> Iterator[MakeSpan]:
    """Make one finished span: `make_span(name, attributes, kind=, status=, scope=, schema_url=, events=)`."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    def make(
        name: str,
        attributes: Mapping[str, Any],
        *,
        kind: SpanKind = SpanKind.CLIENT,
        status: StatusCode = StatusCode.UNSET,
        scope: str = "genledger",
        schema_url: str | None = SCHEMA_URL,
        events: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> ReadableSpan:
        exporter.clear()
        span = provider.get_tracer(scope, schema_url=schema_url).start_span(
            name, kind=kind, attributes=dict(attributes)
        )
        span.set_status(Status(status))
        for event, event_attributes in (events or {}).items():
            span.add_event(event, dict(event_attributes))
        span.end()
        return exporter.get_finished_spans()[0]

    yield make
    provider.shutdown()


@pytest.fixture
def metering() -> Iterator[tuple[MeterProvider, InMemoryMetricReader]]:
    """A meter provider and the reader of what it measured."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider, reader
    provider.shutdown()


@pytest.fixture
def make_log() -> Iterator[MakeEvent]:
    """Emit one log record and read it back: `make_log(record, scope=, schema_url=)`."""
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))

    def make(record: LogRecord, *, scope: str = "genledger", schema_url: str | None = SCHEMA_URL) -> ReadableLogRecord:
        exporter.clear()
        provider.get_logger(scope, schema_url=schema_url).emit(record)
        return exporter.get_finished_logs()[0]

    yield make
    provider.shutdown()
