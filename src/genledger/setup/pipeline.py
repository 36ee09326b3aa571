"""Settings → destinations, and the providers that feed them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakSet

from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider, set_logger_provider
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import ProxyTracerProvider

from genledger.destinations.delivery.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.view import View

    from genledger.alerting.background import AlertThread
    from genledger.destinations.delivery.exports import Exports
    from genledger.destinations.delivery.remote_destination import DeliveryOptions
    from genledger.destinations.export_target import ExportTarget
    from genledger.destinations.selection.unsent_spans import UnsentSpanProcessor
    from genledger.setup.settings import Settings

LANGFUSE_KEYS = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
_PROTOCOLS: dict[str, Literal["grpc", "http/protobuf"]] = {
    "otlp_proto_grpc": "grpc",
    "otlp_proto_http": "http/protobuf",
}
_OTLP_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


REMOTE = frozenset({"langfuse", "otlp", "otlp_proto_grpc", "otlp_proto_http"})
"""The destinations that send over a network, and count what becomes of their records."""


_made: WeakSet[Any] = WeakSet()
"""Providers of metrics and log records that we made: they stay the global ones, as there is no way to replace them."""


class Destination(Protocol):
    """One destination of telemetry."""

    def flush(self, timeout: float) -> bool:
        """Deliver what is waiting, within so many seconds."""
        ...

    def shutdown(self, timeout: float) -> bool:
        """Deliver what is waiting, and stop."""
        ...


@dataclass(slots=True)
class Pipeline:
    """Connected parts, in the order in which to flush and shut them down."""

    destinations: dict[str, Any] = field(default_factory=dict)
    processors: list[SpanProcessor] = field(default_factory=list)
    targets: dict[str, ExportTarget] = field(default_factory=dict)
    sinks: list[Callable[[Any], None]] = field(default_factory=list)
    event_sinks: list[Callable[[Any], None]] = field(default_factory=list)
    step_sinks: list[Callable[[Any], None]] = field(default_factory=list)
    exports: list[Exports] = field(default_factory=list)
    alerts: AlertThread | None = None
    metrics_export: Exports | None = None
    left_to_others: list[UnsentSpanProcessor] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recorder: Any = None

    def add(self, name: str, destination: Any) -> None:
        """Add a destination with a span processor.

        Raises:
            ConfigurationError: Another destination sends to the same place.
        """
        processor, target = destination.processor, getattr(destination, "target", None)
        if target is not None:
            same = next((other for other, place in self.targets.items() if place.is_same(target)), None)
            if same is not None:
                destination.shutdown(0.0)
                raise ConfigurationError(f"it sends to the same address as the destination {same}")
            self.targets[name] = target
            self.add_processor(processor, target.is_target_of, name)
        else:
            self.processors.append(processor)
        self.destinations[name] = destination

    def add_processor(self, processor: SpanProcessor, sends_there: Callable[[Any], bool], name: str) -> None:
        """Add a processor that is passed the spans which no exporter of the provider sends to the same place."""
        from genledger.destinations.selection.unsent_spans import UnsentSpanProcessor

        unsent = UnsentSpanProcessor(processor, sends_there, name)
        self.processors.append(unsent)
        self.left_to_others.append(unsent)


def names_wanted(settings: Settings, environ: os._Environ[str] | dict[str, str]) -> tuple[Any, ...]:
    """Return the destinations: the named ones, else those whose variables are set, else the ledger.

    `OTEL_TRACES_EXPORTER` is a list of names as the OpenTelemetry specification has it.
    """
    if settings.destinations is not None:
        return settings.destinations
    listed = environ.get("OTEL_TRACES_EXPORTER", "")
    names = [name.strip() for name in listed.split(",") if name.strip()]
    if names == ["none"]:
        names = []
    off = environ.get("LANGFUSE_TRACING_ENABLED", "").strip().lower() in ("false", "0")
    if not off and any(environ.get(key) for key in LANGFUSE_KEYS) and "langfuse" not in names:
        names.append("langfuse")
    if not listed and any(environ.get(key) for key in _OTLP_ENDPOINTS):
        names.append("otlp")
    if not names and not listed:
        names.append("ledger")
    return tuple(names)


def connect(settings: Settings, wanted: tuple[Any, ...]) -> Pipeline:
    """Build the destinations. Omit one that cannot work, and add it to the problems."""
    pipeline = Pipeline()
    for one in wanted:
        name = one if isinstance(one, str) else type(one).__name__
        with _left_out_on_error(pipeline, f"destination {name}"):
            if isinstance(one, str):
                _BUILDERS.get(name, _exporter)(pipeline, settings, name)
            else:
                _given(pipeline, one)
    return pipeline


@contextmanager
def _left_out_on_error(pipeline: Pipeline, what: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        advice = "install or upgrade the package that has it"
        pipeline.problems.append(f"{what} cannot be loaded: {error}; {advice}; until then, it is not used")
    except (ConfigurationError, OSError, ValueError) as error:
        pipeline.problems.append(f"{what}: {error}; it is not used")
    except Exception as error:
        pipeline.problems.append(f"{what}: {type(error).__name__}: {error}; it is not used")


def _given(pipeline: Pipeline, destination: Any) -> None:
    name = type(destination).__name__
    key = f"{name.lower()}-{len(pipeline.destinations)}"
    if not hasattr(destination, "processor") and not hasattr(destination, "accept"):
        raise ConfigurationError(
            f"{name} is not a valid destination: expected a `processor` attribute or an `accept()` method"
        )
    if hasattr(destination, "processor"):
        pipeline.add(key, destination)
    if hasattr(destination, "accept"):
        pipeline.sinks.append(destination.accept)
    if hasattr(destination, "score"):
        pipeline.event_sinks.append(destination.score)
    pipeline.destinations[key] = destination


def _ledger(pipeline: Pipeline, settings: Settings, name: str) -> None:
    from genledger.destinations.ledger import LedgerDestination
    from genledger.destinations.ledger_steps import StepProcessor

    ledger = LedgerDestination(
        settings.ledger, max_age_days=settings.ledger_max_days, max_bytes=settings.ledger_max_mb * 1024 * 1024
    )
    problem = ledger.check()
    if problem is not None:
        # It may pass (a lock, a full disk): the destination keeps what it can and tries again.
        pipeline.problems.append(f"destination {name}: {problem}")
    pipeline.destinations[name] = ledger
    pipeline.sinks.append(ledger.accept)
    pipeline.step_sinks.append(ledger.accept)
    pipeline.processors.append(StepProcessor(ledger.accept))


def _delivery(settings: Settings) -> DeliveryOptions:
    options: DeliveryOptions = {"durable": settings.durable}
    if settings.spool is not None:
        options["spool"] = None if settings.spool == "off" else settings.spool
    return options


def _langfuse(pipeline: Pipeline, settings: Settings, name: str) -> None:
    from genledger.destinations.langfuse.destination import LangfuseDestination

    destination = LangfuseDestination(
        tags=settings.langfuse_tags,
        trace_name=settings.langfuse_trace_name,
        everything=settings.langfuse_send_all_spans,
        units_per_month=settings.langfuse_units_per_month,
        **_delivery(settings),
    )
    pipeline.add(name, destination)
    pipeline.event_sinks.append(destination.score)


def _otlp(pipeline: Pipeline, settings: Settings, name: str) -> None:
    from genledger.destinations.otlp import OtlpDestination

    pipeline.add(name, OtlpDestination(protocol=_PROTOCOLS.get(name), **_delivery(settings)))


def _exporter(pipeline: Pipeline, settings: Settings, name: str) -> None:
    """Return an installed exporter, by its entry point, behind the SDK's own batching."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from genledger.destinations.delivery.exports import Exports
    from genledger.destinations.selection.redacting_exporter import RedactingExporter

    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        raise ConfigurationError("unknown destination; use langfuse, otlp, ledger, console or an installed exporter")
    theirs = found[0].load()()
    exporter = RedactingExporter(theirs)
    processor = BatchSpanProcessor(exporter)
    pipeline.destinations[name] = Exports(f"spans for {name}", exporter, processor.force_flush, processor.shutdown)
    # Under another distribution, `OTEL_TRACES_EXPORTER` has already put one of the kind on the provider.
    pipeline.add_processor(processor, lambda other: _is_alike(other, theirs), name)


def _is_alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and getattr(one, "endpoint", None) == getattr(other, "endpoint", None)


_BUILDERS: dict[str, Callable[[Pipeline, Any, str], None]] = {
    "ledger": _ledger,
    "langfuse": _langfuse,
    "otlp": _otlp,
    "otlp_proto_grpc": _otlp,
    "otlp_proto_http": _otlp,
}


def tracer_provider(settings: Settings, pipeline: Pipeline) -> Any:
    """Return the given provider, else the application's, else a new one that becomes the global one."""
    if settings.tracer_provider is not None:
        return settings.tracer_provider
    current = trace.get_tracer_provider()
    if isinstance(current, TracerProvider):
        return current
    provider = TracerProvider(shutdown_on_exit=False)
    if isinstance(current, ProxyTracerProvider):
        trace.set_tracer_provider(provider)
    else:
        pipeline.problems.append(
            f"the global tracer provider is a {type(current).__name__}, which does not support span "
            "processors; Genledger uses its own provider"
        )
    return provider


def _exports(signal: str, pipeline: Pipeline) -> bool:
    listed = os.environ.get(f"OTEL_{signal}_EXPORTER")
    if listed is not None:
        return "otlp" in listed
    return any(name.startswith("otlp") for name in pipeline.destinations)


def _without_duplicates() -> list[View]:
    """Return views that drop what frameworks count of calls and steps that we count."""
    from opentelemetry.sdk.metrics.view import DropAggregation, View

    from genledger.engine.foreign_spans.native_scopes import rows

    return [
        View(instrument_name=name, meter_name=meter, aggregation=DropAggregation())
        for row in rows()
        for meter in row.meters
        for name in ("gen_ai.*", "operation.cost")
    ]


def meter_provider(settings: Settings, pipeline: Pipeline) -> Any:
    """Return the given provider, else the application's, else one that exports over OTLP if that is a destination."""
    if settings.meter_provider is not None:
        return settings.meter_provider
    current = metrics.get_meter_provider()
    if not _exports("METRICS", pipeline):
        return current
    from opentelemetry.sdk.metrics import MeterProvider

    if not isinstance(current, MeterProvider):
        current = MeterProvider(shutdown_on_exit=False, views=_without_duplicates())
        _made.add(current)
        metrics.set_meter_provider(current)
    if current in _made:
        with _left_out_on_error(pipeline, "export of metrics"):
            from genledger.destinations.otlp_metrics import export_metrics

            pipeline.metrics_export = export_metrics(current)
            pipeline.exports.append(pipeline.metrics_export)
    return current


def logger_provider(settings: Settings, pipeline: Pipeline) -> Any:
    """Return the given provider, else the application's, else one that exports over OTLP; `None` without any."""
    if settings.logger_provider is not None:
        return settings.logger_provider
    current = get_logger_provider()
    sdk = sys.modules.get("opentelemetry.sdk._logs")  # whose provider it cannot be before the import
    if sdk is not None and isinstance(current, sdk.LoggerProvider) and current not in _made:
        return current
    if not _exports("LOGS", pipeline):
        return None
    from opentelemetry.sdk._logs import LoggerProvider

    if not isinstance(current, LoggerProvider):
        current = LoggerProvider(shutdown_on_exit=False)
        _made.add(current)
        set_logger_provider(current)
    with _left_out_on_error(pipeline, "export of log records"):
        from genledger.destinations.otlp_logs import export_logs

        pipeline.exports.append(export_logs(current))
    return current
