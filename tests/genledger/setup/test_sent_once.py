"""What the application's own exporters send is not sent by Genledger as well."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import genledger
from genledger.destinations.langfuse.exporter import LangfuseSpanExporter

from ...instrumentors.telemetry import Telemetry
from ...launcher.received import metrics_of
from ...standins.grpc_collector import GrpcCollector
from ...standins.receivers import Collector, Langfuse
from ..applications import run

PROCESSORS: list[Callable[[Any], Any]] = [BatchSpanProcessor, SimpleSpanProcessor]


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "LANGFUSE_", "GENLEDGER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GENLEDGER_SPOOL", "off")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that the environment names."""
    with Collector() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.base_url)
        yield receiver


class Application:
    """A tracer provider of the application's, with our destinations on it."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._telemetry = Telemetry()

    def instrument(self, *destinations: Any) -> None:
        genledger.instrument(
            libraries=[],
            destinations=list(destinations or ["otlp"]),
            tracer_provider=self.provider,
            meter_provider=self._telemetry.meter_provider,
            logger_provider=self._telemetry.logger_provider,
        )

    def add(self, processor: Any) -> None:
        self.provider.add_span_processor(processor)

    def span(self, name: str) -> None:
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
        self.provider.get_tracer("app").start_span(name, attributes=attributes).end()

    def end(self) -> None:
        genledger.uninstrument()
        self.provider.shutdown()
        for provider in (self._telemetry.meter_provider, self._telemetry.logger_provider):
            provider.shutdown()


@pytest.fixture
def app() -> Iterator[Application]:
    app = Application()
    yield app
    app.end()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("first", ["theirs", "ours"])
@pytest.mark.parametrize("address", [None, "{}/v1/traces"])
def test_a_span_reaches_a_collector_once_when_the_application_exports_to_it_itself(
    processor: Callable[[Any], Any], first: str, address: str | None, app: Application, collector: Collector
) -> None:
    url = collector.base_url.replace("127.0.0.1", "localhost")
    steps = [lambda: app.add(processor(OTLPSpanExporter(address and address.format(url)))), app.instrument]
    for step in steps if first == "theirs" else reversed(steps):
        step()
    app.span("one")
    assert genledger.flush(30)
    assert [sent.name for sent in collector.spans()] == ["one"]


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_span_reaches_a_collector_once_over_grpc(
    processor: Callable[[Any], Any], app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GrpcCollector() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        app.instrument()
        app.add(processor(GrpcExporter(insecure=True)))
        app.span("one")
        assert genledger.flush(30)
        assert [sent.name for sent in receiver.spans] == ["one"]


def test_an_exporter_that_is_added_later_takes_over_from_then_on(app: Application, collector: Collector) -> None:
    app.instrument()
    app.span("before")
    app.add(BatchSpanProcessor(OTLPSpanExporter()))
    app.span("after")
    assert genledger.flush(30)
    assert Counter(sent.name for sent in collector.spans()) == {"before": 1, "after": 1}


def test_an_exporter_to_another_place_takes_nothing_from_ours(app: Application, collector: Collector) -> None:
    with Collector() as other:
        app.add(SimpleSpanProcessor(OTLPSpanExporter(other.url)))
        app.add(SimpleSpanProcessor(InMemorySpanExporter()))
        app.instrument()
        app.span("one")
        assert genledger.flush(30)
        for receiver in (collector, other):
            assert [sent.name for sent in receiver.spans()] == ["one"]


def test_flush_says_when_what_was_left_to_the_application_was_not_sent(app: Application, collector: Collector) -> None:
    class Failing(BatchSpanProcessor):
        def force_flush(self, timeout_millis: int | None = None) -> bool:
            return False

    app.instrument()
    app.add(Failing(OTLPSpanExporter()))
    app.span("one")
    assert not genledger.flush(30)


def test_two_of_our_destinations_at_one_address_send_once(
    app: Application, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Langfuse() as langfuse:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", langfuse.public_key)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", langfuse.secret_key)
        monkeypatch.setenv("LANGFUSE_BASE_URL", langfuse.base_url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"{langfuse.base_url}/api/public/otel")
        app.instrument("langfuse", "otlp")
        app.span("one")
        assert genledger.flush(30)
        assert set(langfuse.counts().values()) == {1}
    assert "destination otlp: it sends to the same address as the destination langfuse" in caplog.text


def test_langfuse_gets_a_span_once_when_its_exporter_is_on_the_provider(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Langfuse() as langfuse:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", langfuse.public_key)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", langfuse.secret_key)
        monkeypatch.setenv("LANGFUSE_BASE_URL", langfuse.base_url)
        app.add(BatchSpanProcessor(LangfuseSpanExporter()))
        app.instrument("langfuse")
        app.span("one")
        assert genledger.flush(30)
        app.provider.shutdown()
        assert set(langfuse.counts().values()) == {1}


OWN_CONSOLE = """
import genledger
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
genledger.instrument()
trace.get_tracer("app").start_span("only once").end()
"""


def test_an_exporter_by_name_does_not_repeat_one_of_its_kind(tmp_path: Path) -> None:
    done = run(tmp_path, OWN_CONSOLE, OTEL_TRACES_EXPORTER="console")
    assert done.stdout.count('"only once"') == 1


OWN_READERS = """
import genledger
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
genledger.instrument(emit_event=True)
theirs = {"x-from": "the application"}
reader = PeriodicExportingMetricReader(OTLPMetricExporter(headers=theirs))
metrics.get_meter_provider().add_metric_reader(reader)
get_logger_provider().add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(headers=theirs)))
import openai
openai.OpenAI().chat.completions.create(model="gpt-4.1-mini", messages=[{"role": "user", "content": "Hi"}])
genledger.shutdown()
reader.shutdown()
get_logger_provider().shutdown()
"""


def test_metrics_and_logs_are_left_to_exporters_that_the_application_adds_to_our_providers(
    tmp_path: Path, collector: Collector
) -> None:
    with DemoProvider() as provider:
        run(
            tmp_path,
            OWN_READERS,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url,
            OTEL_LOGS_EXPORTER="otlp",
            OPENAI_API_KEY="test",
            OPENAI_BASE_URL=provider.openai_url,
            GENLEDGER_SPOOL="off",
        )
    for path in ("/v1/metrics", "/v1/logs"):
        senders = [request.headers.get("x-from", "Genledger") for request in collector.requests if request.path == path]
        assert set(senders) == {"the application"}
    assert len(collector.spans()) == 1


COUNTED_TWICE = """
import genledger
from opentelemetry import metrics
genledger.instrument()
for scope in (
    *("pydantic-ai", "gcp.vertex.agent", "agent_framework", "app"),
    *("opentelemetry.instrumentation.openai.v1", "opentelemetry.instrumentation.langchain"),
    *("opentelemetry.instrumentation.genai.openai", "openlit.otel.metrics"),
):
    metrics.get_meter(scope).create_histogram("gen_ai.client.token.usage").record(1)
    metrics.get_meter(scope).create_counter("app.done").add(1)
genledger.shutdown()
"""


def test_what_others_count_of_the_same_calls_is_not_exported(tmp_path: Path, collector: Collector) -> None:
    run(tmp_path, COUNTED_TWICE, OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url, GENLEDGER_SPOOL="off")
    sent = [
        (scope.scope.name, metric.name)
        for resource in metrics_of(collector).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert [scope for scope, name in sent if name == "gen_ai.client.token.usage"] == ["app"]
    assert [name for _, name in sent].count("app.done") == 8
