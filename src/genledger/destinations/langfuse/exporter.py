"""The Langfuse destination as a span exporter, for OpenTelemetry's stock distro (`OTEL_TRACES_EXPORTER=langfuse`).

A batch processor hands over spans that have ended, children before their parents. Which parents will be
sent can only be said when they are there; so spans wait for the topmost one of their trace, for a moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from genledger.destinations.export_target import ExportTarget
from genledger.destinations.langfuse.destination import LangfuseDestination, is_configured
from genledger.destinations.selection.span_processor import SelectingSpanProcessor

HELD_S = 30.0
"""Seconds that spans wait for the topmost span of their trace."""

HELD_SPANS = 20_000
"""Spans that wait at most, all traces together."""


class LangfuseSpanExporter(SpanExporter):
    """Sends the GenAI spans it is given to the Langfuse project of the `LANGFUSE_*` variables.

    Nothing is sent with `LANGFUSE_TRACING_ENABLED=false`.

    Raises:
        ConfigurationError: The variables name no project, or not a whole one.
    """

    def __init__(self, destination: LangfuseDestination | None = None) -> None:
        self._destination = destination or LangfuseDestination()
        for delivery in self._destination.deliveries():
            delivery.is_fed = True
        self._off = destination is None and not is_configured()
        self._lock = threading.Lock()
        self._held: dict[int, list[ReadableSpan]] = {}
        self._since: dict[int, float] = {}
        self._count = 0

    @property
    def target(self) -> ExportTarget | None:
        """Where it sends to; `None` when it sends nothing."""
        return None if self._off else self._destination.target

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take spans over; they are delivered by the destination's own thread."""
        if self._off:
            return SpanExportResult.SUCCESS
        now = time.monotonic()
        with self._lock:
            complete = []
            for span in spans:
                trace_id = span.context.trace_id
                self._held.setdefault(trace_id, []).append(span)
                self._since.setdefault(trace_id, now)
                self._count += 1
                if span.parent is None or span.parent.is_remote:
                    complete.append(trace_id)
            complete += [trace_id for trace_id, since in self._since.items() if now - since > HELD_S]
            if self._count > HELD_SPANS:
                complete = list(self._held)
            self._release(complete)
        return SpanExportResult.SUCCESS

    def _release(self, traces: Sequence[int]) -> None:
        intake = self._destination.processor
        assert isinstance(intake, SelectingSpanProcessor)
        for trace_id in traces:
            spans = self._held.pop(trace_id, [])
            self._since.pop(trace_id, None)
            self._count -= len(spans)
            for span in sorted(spans, key=lambda span: span.start_time or 0):
                intake.on_start(span, live=False)
            for span in sorted(spans, key=lambda span: span.end_time or 0):
                intake.on_end(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver everything taken over so far, within the time given."""
        with self._lock:
            self._release(list(self._held))
        return self._destination.flush(timeout_millis / 1000.0)

    def shutdown(self) -> None:
        """Deliver or spool what there is."""
        with self._lock:
            self._release(list(self._held))
        self._destination.shutdown()
