"""The private attributes of other packages that Genledger uses, and the only module that touches them.

A release of such a package may move them. Each use therefore has a self-test, which runs once, when the use is first
wanted, on objects of its own. If it fails, one line is logged and the caller takes a public way that does less.

What client libraries keep to themselves is up to their instrumentors and adapters. `opentelemetry._logs` and
`opentelemetry.sdk._logs` are no private modules: OpenTelemetry documents its logs under these names.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import wrapt
from opentelemetry import context as context_api

from genledger.shared.loggers import logger_of

if TYPE_CHECKING:
    from genai_prices.types import Provider

logger = logger_of("genledger")


class PrivateUse:
    """One use of private attributes.

    Attributes:
        package: The distribution that they belong to.
        attributes: Their names.
        purpose: What they are used for.
        otherwise: What happens when the self-test fails.
    """

    def __init__(
        self, package: str, attributes: str, purpose: str, otherwise: str, self_test: Callable[[], bool]
    ) -> None:
        self.package = package
        self.attributes = attributes
        self.purpose = purpose
        self.otherwise = otherwise
        self._self_test = self_test

    @cached_property
    def works(self) -> bool:
        """Return whether the installed package has the attributes and they work as expected."""
        try:
            if self._self_test():
                return True
            reason = "the self-test failed"
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        logger.warning("genledger: %s no longer has %s (%s): %s", self.package, self.attributes, reason, self.otherwise)
        return False


# Spans that are ending


class EndingSpanHook:
    """A span processor with this base is told by `on_ending` when a span ends and can still be added to.

    The base `SpanProcessor` comes after it.
    """

    _on_ending: ClassVar[Any]

    def __init_subclass__(cls) -> None:
        cls._on_ending = cls.on_ending

    def on_ending(self, span: Any) -> None:
        """Take in a span that has ended, before `on_end` of any processor sees it."""


def fits(span: Any, attributes: Mapping[str, Any]) -> bool:
    """Return whether a span takes more attributes without dropping those that it has."""
    stored = span._attributes
    return stored.maxlen is None or len(stored.keys() | attributes.keys()) <= stored.maxlen


def replace_attributes(span: Any, prefix: str | tuple[str, ...], attributes: Mapping[str, Any]) -> None:
    """Remove a span's attributes whose names begin with `prefix` (or one of them), and add others.

    A value of `None` removes the attribute of exactly that name. Only while the span is ending: the SDK closes the
    attributes just before it announces the end.
    """
    stored = span._attributes
    stored._immutable = False
    try:
        for name in [name for name in stored if name.startswith(prefix)]:
            del stored[name]
        for name, value in attributes.items():
            if value is None:
                stored.pop(name, None)
            else:
                stored[name] = value
    finally:
        stored._immutable = True


def replace_name(span: Any, name: str) -> None:
    """Rename a span that is ending: the SDK takes no new name from then on."""
    span._name = name


def _ending_works() -> bool:
    from opentelemetry.sdk.trace import SpanProcessor

    class Probe(EndingSpanHook, SpanProcessor):
        def on_ending(self, span: Any) -> None:
            replace_attributes(span, "removed", {"added": "yes", "also removed": None})
            replace_name(span, "renamed")

    provider = _tracer_provider()
    provider.add_span_processor(Probe())
    given = {"removed": "yes", "also removed": "yes"}
    span = provider.get_tracer("genledger").start_span("probe", context_api.Context(), attributes=given)
    span.end()
    return dict(span.attributes) == {"added": "yes"} and span.name == "renamed" and fits(span, {"another": "yes"})


ENDING_SPANS = PrivateUse(
    "opentelemetry-sdk",
    "SpanProcessor._on_ending, Span._name, Span._attributes with _immutable and maxlen",
    "write the cost to spans of other instrumentations, and put right what they say",
    "calls recorded by other instrumentations are counted and priced, but their spans do not show the cost",
    _ending_works,
)


# The span processors that a span is announced to


def span_processors(span: Any) -> tuple[Any, ...]:
    """Return the span processors of an open span's provider, the same tuple until one is added; none if unknown."""
    if not SPAN_PROCESSORS.works:
        return ()
    processors: tuple[Any, ...] = getattr(getattr(span, "_span_processor", None), "_span_processors", ())
    return processors


def _processors_work() -> bool:
    from opentelemetry.sdk.trace import SpanProcessor

    provider, probe = _tracer_provider(), SpanProcessor()
    span = provider.get_tracer("genledger").start_span("probe", context_api.Context())
    provider.add_span_processor(probe)
    processors = span._span_processor._span_processors
    return processors == (probe,) and processors is span._span_processor._span_processors


SPAN_PROCESSORS = PrivateUse(
    "opentelemetry-sdk",
    "Span._span_processor, SynchronousMultiSpanProcessor._span_processors",
    "leave to Langfuse's own SDK and to the application's exporters the spans that they send",
    "spans that Langfuse's own SDK, or an exporter of the application, sends to the same place are sent twice",
    _processors_work,
)


# Which instrumentation a tracer belongs to


def scope_of(tracer: Any) -> str | None:
    """Return the name of the instrumentation scope of an SDK's tracer; `None` where it does not tell."""
    return _scope_of(tracer) if TRACER_SCOPE.works else None


def _scope_of(tracer: Any) -> str:
    name: str = tracer._instrumentation_scope.name
    return name


TRACER_SCOPE = PrivateUse(
    "opentelemetry-sdk",
    "Tracer._instrumentation_scope",
    "find the parents of spans of libraries that record their own work, in a framework's step",
    "such spans, of an MCP client for example, begin traces of their own in the steps of some frameworks",
    lambda: _scope_of(_tracer_provider().get_tracer("genledger")) == "genledger",
)


# Other exporters of a provider, and where they send to


def metric_exporters(provider: Any) -> list[Any]:
    """Return the exporters of a meter provider; none where the SDK does not tell."""
    return _metric_exporters(provider) if METRIC_EXPORTERS.works else []


def _metric_exporters(provider: Any) -> list[Any]:
    return [getattr(reader, "_exporter", None) for reader in tuple(provider._measurement_consumer._reader_storages)]


def _metric_exporters_work() -> bool:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    exporter = ConsoleMetricExporter()
    provider = MeterProvider((), Resource.get_empty(), shutdown_on_exit=False)
    provider.add_metric_reader(PeriodicExportingMetricReader(exporter, math.inf))
    found = _metric_exporters(provider)
    provider.shutdown()
    return found == [exporter]


METRIC_EXPORTERS = PrivateUse(
    "opentelemetry-sdk",
    "MeterProvider._measurement_consumer._reader_storages, PeriodicExportingMetricReader._exporter",
    "see what else sends the same metrics",
    "metrics arrive twice when the application adds an exporter of its own to Genledger's meter provider",
    _metric_exporters_work,
)


def log_exporters(provider: Any) -> list[Any]:
    """Return the exporters of a logger provider; none where the SDK does not tell."""
    return _log_exporters(provider) if LOG_EXPORTERS.works else []


def _log_exporters(provider: Any) -> list[Any]:
    processors = provider._multi_log_record_processor._log_record_processors
    return [getattr(getattr(one, "_batch_processor", one), "_exporter", None) for one in processors]


def _log_exporters_work() -> bool:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import (
        BatchLogRecordProcessor,
        ConsoleLogRecordExporter,
        SimpleLogRecordProcessor,
    )
    from opentelemetry.sdk.resources import Resource

    exporter = ConsoleLogRecordExporter()
    provider = LoggerProvider(Resource.get_empty(), shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    found = _log_exporters(provider)
    provider.shutdown()
    return found == [exporter, exporter]


LOG_EXPORTERS = PrivateUse(
    "opentelemetry-sdk",
    "LoggerProvider._multi_log_record_processor._log_record_processors, LogRecordProcessor._exporter",
    "see what else sends the same log records",
    "log records arrive twice when the application adds an exporter of its own to Genledger's logger provider",
    _log_exporters_work,
)


def otlp_address(exporter: Any) -> tuple[str, Literal["grpc", "http/protobuf"], Mapping[str, str]] | None:
    """Return address, protocol and headers of an OTLP exporter of OpenTelemetry's; `None` for any other exporter."""
    modules = [kind.__module__ for kind in type(exporter).__mro__]
    if any(module.startswith(f"{_OTLP}.http") for module in modules):
        return (exporter._endpoint, "http/protobuf", exporter._client._headers) if OTLP_HTTP.works else None
    if any(module.startswith(f"{_OTLP}.grpc") for module in modules):
        return (exporter._endpoint, "grpc", dict(exporter._headers)) if OTLP_GRPC.works else None
    return None


_OTLP = "opentelemetry.exporter.otlp.proto"


def _http_works() -> bool:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter: Any = OTLPSpanExporter("http://localhost/probe", headers={"probe": "yes"})
    exporter.shutdown()
    return exporter._endpoint == "http://localhost/probe" and exporter._client._headers["probe"] == "yes"


def _grpc_works() -> bool:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter: Any = OTLPSpanExporter("http://localhost:1", headers={"probe": "yes"})
    exporter.shutdown()
    return exporter._endpoint == "localhost:1" and dict(exporter._headers)["probe"] == "yes"


_TWICE = "spans, metrics and logs arrive twice when an exporter of the application sends them to the same address"

OTLP_HTTP = PrivateUse(
    "opentelemetry-exporter-otlp-proto-http",
    "OTLPSpanExporter._endpoint, OTLPSpanExporter._client._headers",
    "see where the application's own exporters send to, over HTTP",
    _TWICE,
    _http_works,
)
OTLP_GRPC = PrivateUse(
    "opentelemetry-exporter-otlp-proto-grpc",
    "OTLPSpanExporter._endpoint, OTLPSpanExporter._headers",
    "see where the application's own exporters send to, over gRPC",
    _TWICE,
    _grpc_works,
)


# What Langfuse's own SDK sends


def langfuse_filter(processor: Any) -> Callable[[Any], object]:
    """Return how a `LangfuseSpanProcessor` decides whether it sends a span; its default where it does not tell."""
    if LANGFUSE_FILTER.works:
        chosen: Callable[[Any], object] = processor._should_export_span
        return chosen
    try:
        from langfuse.span_filter import is_default_export_span  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return lambda span: True  # version 3, which sends everything

    return is_default_export_span


def _filter_works() -> bool:
    from langfuse._client.span_processor import (  # type: ignore[import-not-found, unused-ignore]
        LangfuseSpanProcessor,
    )
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    def chosen(span: Any) -> bool:
        return False

    probe: Any = LangfuseSpanProcessor(
        public_key="probe",
        secret_key="probe",
        base_url="",
        should_export_span=chosen,
        span_exporter=InMemorySpanExporter(),
    )
    probe.shutdown()
    return probe._should_export_span is chosen


LANGFUSE_FILTER = PrivateUse(
    "langfuse",
    "LangfuseSpanProcessor._should_export_span",
    "know which spans Langfuse's own SDK sends",
    "with `should_export_span`, spans may reach Langfuse twice or not at all beside its own SDK",
    _filter_works,
)


# The metric points that the SDK keeps


def forget_points(meter: Any) -> None:
    """Forget what a meter's instruments were told; in a forked child, that is the parent's to report."""
    found = _sdk_meter(meter)
    if found is not None and METRIC_POINTS.works:
        _forget(found)


def is_last_collection(meter: Any) -> bool:
    """Return whether a reader of a meter is shutting down: what it does not collect now is lost.

    True as well where the SDK does not tell.
    """
    found = _sdk_meter(meter)
    return found is None or not METRIC_POINTS.works or _shutting_down(found)


def _sdk_meter(meter: Any) -> Any:
    """The SDK's meter, also behind the one that the API gives out before there is a provider; `None` for another's."""
    sdk = sys.modules.get("opentelemetry.sdk.metrics")
    found = getattr(meter, "_real_meter", None) or meter
    return found if sdk is not None and isinstance(found, sdk.Meter) else None


def _forget(meter: Any) -> None:
    for instrument in tuple(meter._instrument_id_instrument.values()):
        for storage in instrument._measurement_consumer._reader_storages.values():
            for match in storage._instrument_view_instrument_matches.get(instrument, ()):
                match._attributes_aggregation = {}


def _shutting_down(meter: Any) -> bool:
    return any(getattr(reader, "_shutdown", False) for reader in meter._measurement_consumer._reader_storages)


def _points_work() -> bool:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        InMemoryMetricReader,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.resources import Resource

    def collected() -> set[str]:
        data = reader.get_metrics_data()
        resources = data.resource_metrics if data is not None else ()
        return {metric.name for one in resources for scope in one.scope_metrics for metric in scope.metrics}

    reader = InMemoryMetricReader()
    periodic = PeriodicExportingMetricReader(ConsoleMetricExporter(), math.inf)  # no thread, no export
    provider = MeterProvider([reader, periodic], Resource.get_empty(), shutdown_on_exit=False)
    meter = provider.get_meter("genledger")
    meter.create_counter("probe.counter").add(1, {"probe": 1})
    meter.create_histogram("probe.histogram").record(1, {"probe": 1})
    probes = {"probe.counter", "probe.histogram"}
    told = probes <= collected()
    _forget(meter)
    forgotten = not probes & collected()
    running = not _shutting_down(meter)
    periodic.shutdown()
    return told and forgotten and running and _shutting_down(meter)


METRIC_POINTS = PrivateUse(
    "opentelemetry-sdk",
    "Meter._instrument_id_instrument, Instrument._measurement_consumer, MetricReader._shutdown and what they hold",
    "forget the parent's points in a forked child; start new series at 0",
    "forked children report their parent's points again, and a new series of a counter starts with its first amount",
    _points_work,
)


# Switches in the context


def suppression_keys() -> tuple[str, ...]:
    """Return the context keys by which libraries ask for no instrumentation: the documented one, and the API's own."""
    return ("suppress_instrumentation", *([_suppression_key()] if SUPPRESSION.works else ()))


def _suppression_key() -> str:
    key: str = context_api._SUPPRESS_INSTRUMENTATION_KEY
    return key


SUPPRESSION = PrivateUse(
    "opentelemetry-api",
    "opentelemetry.context._SUPPRESS_INSTRUMENTATION_KEY",
    "record no calls where OpenTelemetry's instrumentation is suppressed",
    "only the key `suppress_instrumentation` is honored",
    lambda: isinstance(_suppression_key(), str),
)


# Price tables


def read_price_table(providers: Any) -> list[Provider]:
    """Read a price table as genai-prices publishes it.

    Raises:
        ValueError: It is no such table, or genai-prices has no way to read one.
    """
    if not PRICE_TABLES.works:
        raise ValueError("the installed genai-prices does not read tables")
    return _read_table(providers)


def _read_table(providers: Any) -> list[Provider]:
    from genai_prices.types import _providers_from_raw

    return _providers_from_raw(providers)


def _tables_work() -> bool:
    model = {"id": "m", "match": {"equals": "m"}, "prices": {"input_mtok": 1}}
    (provider,) = _read_table([{"id": "p", "name": "P", "api_pattern": "p", "models": [model]}])
    return provider.find_model("m") is not None


PRICE_TABLES = PrivateUse(
    "genai-prices",
    "genai_prices.types._providers_from_raw",
    "read the price table that `genledger prices update` stored",
    "the installed price table is used, and `genledger prices update` fails",
    _tables_work,
)


# Modules that are imported again


def call_at_next_import(module: str, hook: Callable[[ModuleType], None]) -> None:
    """Call a function when a module is imported the next time, whether or not it is imported now.

    wrapt's own function calls it at once if the module is imported.
    """
    if module not in sys.modules:
        wrapt.register_post_import_hook(hook, module)
    elif IMPORT_HOOKS.works:
        _listen(module, hook)


def _listen(module: str, hook: Callable[[ModuleType], None]) -> None:
    importer = sys.modules["wrapt.importer"]
    with importer._post_import_hooks_lock:
        importer._post_import_hooks.setdefault(module, []).append(hook)


def _listening_works() -> bool:
    heard: list[ModuleType] = []
    probe = ModuleType("genledger.probe")
    wrapt.register_post_import_hook(heard.append, probe.__name__)
    _listen(probe.__name__, heard.append)
    wrapt.notify_module_loaded(probe)
    return heard == [probe, probe]


IMPORT_HOOKS = PrivateUse(
    "wrapt",
    "wrapt.importer._post_import_hooks, wrapt.importer._post_import_hooks_lock",
    "record a library that was removed from sys.modules and imported again",
    "a library that is removed from sys.modules and imported again is not recorded",
    _listening_works,
)

USES = (
    ENDING_SPANS, SPAN_PROCESSORS, TRACER_SCOPE, METRIC_EXPORTERS, LOG_EXPORTERS, OTLP_HTTP, OTLP_GRPC,
    LANGFUSE_FILTER, METRIC_POINTS, SUPPRESSION, PRICE_TABLES, IMPORT_HOOKS,
)  # fmt: skip
"""Every use."""


def _tracer_provider() -> Any:
    """Return a provider that nothing else sees, and no environment variable changes."""
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON

    return TracerProvider(ALWAYS_ON, Resource.get_empty(), shutdown_on_exit=False, meter_provider=NoOpMeterProvider())
