"""Checks finished telemetry against the registry.

from genledger_semconv.checker import assert_clean

assert_clean(span_exporter.get_finished_spans(), metric_reader.get_metrics_data())
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import get_args

from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .deviation import Deviation, MetricNames, Options, Report, Rule, Signal
from .logs import check_log
from .metrics import check_metric
from .spans import check_span

__all__ = ["Deviation", "MetricNames", "Rule", "Signal", "assert_clean", "check"]

Record = ReadableLogRecord | ReadWriteLogRecord | LogRecord


def _into(found: list[Deviation], signal: Signal, name: str) -> Report:
    def report(rule: Rule, message: str, attribute: str | None) -> None:
        found.append(Deviation(signal, name, rule, message, attribute))

    return report


def _metrics(data: MetricsData) -> Iterator[tuple[Metric, InstrumentationScope]]:
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                yield metric, scope_metrics.scope


def check(
    spans: Iterable[ReadableSpan] = (),
    metrics: MetricsData | None = None,
    logs: Iterable[Record] = (),
    *,
    capture_content: bool = False,
    metric_names: MetricNames = "newest",
    allow: Iterable[str] = (),
) -> list[Deviation]:
    """Every way in which this telemetry is not as the registry says, in the order it was given.

    Args:
        spans: Finished spans, as `InMemorySpanExporter.get_finished_spans()` returns them.
        metrics: What `InMemoryMetricReader.get_metrics_data()` returns.
        logs: Log records, as `InMemoryLogRecordExporter.get_finished_logs()` returns them.
        capture_content: Whether content was to be captured; if not, any content is a deviation.
        metric_names: Which metric names were to be emitted: those of the newest conventions, those of v1.41
            that today's dashboards use, or both.
        allow: Names of attributes, metrics and events to leave alone; `*` stands for any characters.

    Raises:
        TypeError: `allow` is a string.
        ValueError: `metric_names` is none of the three.
    """
    if isinstance(allow, str):
        raise TypeError(f"check(allow=…) must be a list of names, not the string {allow!r}")
    if metric_names not in get_args(MetricNames):
        raise ValueError(f"check(metric_names=…) must be newest, v1.41 or both, not {metric_names!r}")
    options = Options(capture_content, metric_names, tuple(allow))
    found: list[Deviation] = []
    for span in spans:
        check_span(span, options, _into(found, "span", span.name))
    if metrics is not None:
        for metric, scope in _metrics(metrics):
            check_metric(metric, scope, options, _into(found, "metric", metric.name))
    for log in logs:
        record, log_scope = (log, None) if isinstance(log, LogRecord) else (log.log_record, log.instrumentation_scope)
        check_log(record, log_scope, options, _into(found, "log", record.event_name or "log record"))
    return found


def assert_clean(
    spans: Iterable[ReadableSpan] = (),
    metrics: MetricsData | None = None,
    logs: Iterable[Record] = (),
    *,
    capture_content: bool = False,
    metric_names: MetricNames = "newest",
    allow: Iterable[str] = (),
) -> None:
    """Fail a test if `check`, with the same arguments, finds anything.

    Raises:
        AssertionError: Something deviates; the message has one line for each different deviation.
    """
    found = check(spans, metrics, logs, capture_content=capture_content, metric_names=metric_names, allow=allow)
    if found:
        lines = [
            f"  {text}" + (f" (× {times})" if times > 1 else "") for text, times in Counter(map(str, found)).items()
        ]
        raise AssertionError("\n".join([f"{len(found)} deviations from the registry:", *lines]))
