"""Metrics over OTLP while we are switched on, from a provider that stays."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData, PeriodicExportingMetricReader

from genledger.destinations.delivery.exports import Exports
from genledger.destinations.otlp import endpoint_of, others_send, otlp_metric_exporter
from genledger.shared.private_attributes import metric_exporters


class _Reader(PeriodicExportingMetricReader):
    """One that a provider can be asked to remove after its shutdown.

    Metrics that an exporter of the application sends to the same address are left to it.
    """

    _is_shut_down = False

    def __init__(self, provider: MeterProvider, exporter: MetricExporter) -> None:
        self._provider = provider
        self._own = exporter
        super().__init__(exporter)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        # The method that every reader has to define.
        if not others_send(self._own, metric_exporters(self._provider), "metrics"):
            super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        if not self._is_shut_down:
            self._is_shut_down = True
            super().shutdown(timeout_millis, **kwargs)


def export_metrics(provider: MeterProvider) -> Exports:
    """Export what a provider of ours counts, until the end of what is returned; then it keeps nothing any more.

    Raises:
        ConfigurationError: The `OTEL_EXPORTER_OTLP_*` variables are wrong.
    """
    exporter = otlp_metric_exporter()
    reader = _Reader(provider, exporter)
    provider.add_metric_reader(reader)

    def stop() -> None:
        reader.shutdown()
        provider.remove_metric_reader(reader)

    return Exports("metrics", exporter, reader.force_flush, stop, endpoint=endpoint_of("METRICS"))
