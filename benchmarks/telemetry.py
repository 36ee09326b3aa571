"""OpenTelemetry providers as an application would set them up, with exporters that count and drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON


class DroppingSpans(SpanExporter):
    """Counts spans and forgets them, or passes them on to `then`."""

    def __init__(self) -> None:
        self.spans = 0
        self.then: SpanExporter | None = None

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS if self.then is None else self.then.export(spans)


class DroppingLogs(LogRecordExporter):
    """Counts log records and forgets them."""

    def __init__(self) -> None:
        self.records = 0

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        self.records += len(batch)
        return LogRecordExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self) -> None:
        """Nothing to end."""


class DroppingMetrics(MetricExporter):
    """Keeps the last totals of each instrument, and forgets the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.points = 0
        """How many values the histograms have seen."""
        self.sums: dict[str, float] = {}
        """The sum over all attributes of each counter."""

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        points, sums = 0, dict[str, float]()
        for resource in metrics_data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        if hasattr(point, "count"):
                            points += point.count
                        else:
                            sums[metric.name] = sums.get(metric.name, 0.0) + point.value
        self.points, self.sums = points, sums
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing to end."""


@dataclass(frozen=True)
class Setting:
    """What is switched on: content, metrics, and whether spans are sampled."""

    content: bool = True
    metrics: bool = True
    sampled: bool = True


SETTINGS: dict[str, Setting] = {
    "on": Setting(),
    "content off": Setting(content=False),
    "metrics off": Setting(content=False, metrics=False),
    "sampled out": Setting(sampled=False),
}


@dataclass
class Telemetry:
    """The providers of one process, global, and what reached their exporters."""

    setting: Setting
    spans: DroppingSpans = field(default_factory=DroppingSpans)
    logs: DroppingLogs = field(default_factory=DroppingLogs)
    points: DroppingMetrics = field(default_factory=DroppingMetrics)
    tracer_provider: TracerProvider = field(init=False)
    meter_provider: MeterProvider | None = field(init=False, default=None)
    logger_provider: LoggerProvider = field(init=False)
    others: list[Callable[[], object]] = field(default_factory=list)
    """What else delivers what is queued: destinations of a contender's own."""

    installed: bool = field(init=False, default=False)

    def install(self, *, batch: bool = True) -> None:
        """Make the providers, with their defaults, and make them the global ones.

        Without `batch` the tracer provider exports nothing: whoever is measured adds its own processor.
        """
        self.installed = True
        self.tracer_provider = TracerProvider(sampler=DEFAULT_ON if self.setting.sampled else ALWAYS_OFF)
        if batch:
            self.tracer_provider.add_span_processor(BatchSpanProcessor(self.spans))
        trace.set_tracer_provider(self.tracer_provider)
        self.logger_provider = LoggerProvider()
        self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(self.logs))
        _logs.set_logger_provider(self.logger_provider)
        if self.setting.metrics:
            self.meter_provider = MeterProvider([PeriodicExportingMetricReader(self.points)])
            metrics.set_meter_provider(self.meter_provider)

    def flush(self) -> None:
        """Deliver what is queued in the global providers, whoever made them, and elsewhere."""
        for flush in self.others:
            flush()
        for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
            force_flush = getattr(provider, "force_flush", None)
            if force_flush is not None:
                force_flush()
