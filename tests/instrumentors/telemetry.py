"""Everything that Genledger says while a test runs, in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import baggage, context, trace
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import genledger
from genledger.engine.record import CallRecord


class Open(SpanProcessor):
    """Keeps the spans that were started and not ended."""

    def __init__(self) -> None:
        self.spans: dict[int, str] = {}

    def on_start(self, span: Span, parent_context: context.Context | None = None) -> None:
        """Note a span."""
        self.spans[span.get_span_context().span_id] = span.name

    def on_end(self, span: ReadableSpan) -> None:
        """Forget it."""
        if span.context is not None:
            self.spans.pop(span.context.span_id, None)


class Complaints(logging.Handler):
    """Keeps what Genledger and OpenTelemetry log at warning or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.records.append(record)

    @property
    def unpriced(self) -> list[str]:
        """The warnings, one per model, that say that a model has no price."""
        return [text for text in self.texts if "price" in text.lower()]

    @property
    def other(self) -> list[str]:
        """Everything else."""
        return [text for text in self.texts if "price" not in text.lower()]

    @property
    def texts(self) -> list[str]:
        """All messages."""
        return [f"{record.name}: {record.getMessage()}" for record in self.records]


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


class Telemetry:
    """Providers that keep everything, and what they have kept."""

    def __init__(self) -> None:
        nowhere = Resource.get_empty()  # what the SDK would find out about this machine takes it threads and time
        self.open = Open()
        self.exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False, resource=nowhere)
        self.tracer_provider.add_span_processor(self.open)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False, resource=nowhere)
        self.log_exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.logger_provider = LoggerProvider(shutdown_on_exit=False, resource=nowhere)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.log_exporter))
        self.complaints = Complaints()

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that have ended."""
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The one span that there must be."""
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the one span that there must be."""
        return attributes_of(self.span)

    def attributes_of(self, name: str) -> dict[str, Any]:
        """The attributes of the one span of this name."""
        (span,) = (span for span in self.spans if span.name == name)
        return attributes_of(span)

    @property
    def metrics(self) -> MetricsData | None:
        """The metrics so far."""
        return self.reader.get_metrics_data()

    @property
    def logs(self) -> tuple[ReadableLogRecord, ...]:
        """The log records so far."""
        return self.log_exporter.get_finished_logs()

    def clear(self) -> None:
        """Forget spans, log records and complaints."""
        self.exporter.clear()
        self.log_exporter.clear()
        self.complaints.records.clear()


class BatchResults:
    """A destination that keeps the results of batches."""

    def __init__(self) -> None:
        self.all: list[CallRecord] = []

    def accept(self, record: Any) -> None:
        """Keep an entry."""
        if record.operation != "batch":
            self.all.append(record)

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing waits."""
        return True


@contextmanager
def instrumented(**options: Any) -> Iterator[Telemetry]:
    """Genledger on both SDKs for a while, writing to providers of its own.

    Takes the options of `genledger.instrument`. What it restores is checked by the tests of `uninstrument`.
    """
    telemetry = Telemetry()
    options = {"libraries": ["openai", "anthropic"], "destinations": []} | options
    loggers = [logging.getLogger(name) for name in ("genledger", "genledger_instrumentors", "opentelemetry")]
    for logger in loggers:
        logger.addHandler(telemetry.complaints)
    genledger.instrument(
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        logger_provider=telemetry.logger_provider,
        **options,
    )
    try:
        yield telemetry
    finally:
        genledger.uninstrument()
        for logger in loggers:
            logger.removeHandler(telemetry.complaints)
        telemetry.tracer_provider.shutdown()
        telemetry.meter_provider.shutdown()
        telemetry.logger_provider.shutdown()


def surroundings() -> tuple[Any, dict[str, object]]:
    """The current span and baggage: what no call may change."""
    return trace.get_current_span(), dict(baggage.get_all())
