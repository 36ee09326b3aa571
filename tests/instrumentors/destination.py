"""A destination of spans and call records that keeps them in memory."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from genledger.engine.record import CallRecord


class Destination:
    """A destination in memory: spans, and call records."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self.exporter)
        self.records: list[CallRecord] = []

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What came."""
        return self.exporter.get_finished_spans()

    def accept(self, record: Any) -> None:
        """Keep a record."""
        self.records.append(record)

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing waits."""
        return True
