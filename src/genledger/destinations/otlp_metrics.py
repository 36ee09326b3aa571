"""Metrics over OTLP while we are switched on, from a provider that stays."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

from genledger.destinations.delivery.exports import Exports
from genledger.destinations.otlp import endpoint_of, otlp_metric_exporter


class _Reader(PeriodicExportingMetricReader):
    """One that a provider can be asked to remove after its shutdown."""

    _is_shut_down = False

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
    reader = _Reader(exporter)
    provider.add_metric_reader(reader)

    def stop() -> None:
        reader.shutdown()
        provider.remove_metric_reader(reader)

    return Exports("metrics", exporter, reader.force_flush, stop, endpoint=endpoint_of("METRICS"))
