"""`instrument()` and its opposite: what is patched, what is connected, and that the application runs on."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import chromadb.api.models.AsyncCollection
import chromadb.api.models.Collection
import openai
import pytest
import wrapt
from examples.demo.provider import DemoProvider
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import Span

import genledger
from genledger.setup import instrument, load_instrumentors
from genledger.setup.settings import Settings

from ...instrumentors import openai_format as wire
from ...instrumentors.provider import Provider, answer
from ...instrumentors.telemetry import Telemetry, instrumented
from ...standins.receivers import Collector
from ...standins.spools import on_disk
from ..applications import rows, run

COST = 176 * 2.5e-6 + 1024 * 1.25e-6 + 300 * 10e-6
"""Of one answer of `chat()`, at OpenAI's published prices for gpt-4o: 2.50, 1.25 (cached) and 10 USD per million."""

CALL = """
import openai
def call():
    hello = [{"role": "user", "content": "Say hello."}]
    openai.OpenAI().chat.completions.create(model="gpt-4.1-mini", messages=hello)
"""


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "LANGFUSE_", "GENLEDGER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables that lead the real clients to a provider on loopback, and the ledger to a file."""
    with DemoProvider() as provider:
        yield {
            "OPENAI_API_KEY": "test",
            "OPENAI_BASE_URL": provider.openai_url,
            "GENLEDGER_LEDGER": str(tmp_path / "ledger.db"),
        }


def chat() -> Callable[[], Any]:
    """A call through the real client, answered in the process."""
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    client = provider.openai()
    return lambda: client.chat.completions.create(model="gpt-4o", messages=wire.USER)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Patching


def attributes(module_names: tuple[str, ...]) -> dict[tuple[str, str], Any]:
    """Every attribute of every module and class of these packages."""
    found: dict[tuple[str, str], Any] = {}
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] in module_names:
            for key, value in list(vars(module).items()):
                found[name, key] = value
                if isinstance(value, type) and value.__module__ == name:
                    for inner, attribute in list(vars(value).items()):
                        if "pydantic" not in inner:  # built when first needed, by itself
                            found[name, f"{key}.{inner}"] = attribute
    return found


def test_uninstrument_puts_back_the_very_attributes_that_were_there() -> None:
    packages = ("openai", "anthropic", "chromadb", "threading", "concurrent")
    before = attributes(packages)
    assert (openai.__name__, "OpenAI.__init__") in before
    with instrumented(libraries=["openai", "anthropic", "chromadb"]):
        now = attributes(packages)
        changed = {key for key in before if now[key] is not before[key]}
        assert {module.partition(".")[0] for module, _ in changed} >= {"openai", "anthropic", "chromadb", "threading"}
        assert all(load_instrumentors.patched()[library] for library in ("openai", "anthropic", "chromadb"))
    after = attributes(packages)
    assert {key for key in before if after[key] is not before[key]} == set()
    # What is new was imported in the meantime; none of it is a wrapper of ours.
    assert before.keys() <= after.keys()
    assert not [key for key in after.keys() - before.keys() if isinstance(after[key], wrapt.FunctionWrapper)]
    assert load_instrumentors.patched() == {}


def test_what_another_patched_on_top_of_us_stays_and_ours_beneath_it_does_nothing(telemetry: Telemetry) -> None:
    create = chromadb.api.models.Collection.Collection.count
    thread_run = threading.Thread.run
    try:

        def theirs(self: threading.Thread) -> None:
            thread_run(self)

        threading.Thread.run = theirs  # type: ignore[method-assign]
        genledger.uninstrument()
        assert threading.Thread.run is theirs
        seen: list[int] = []
        thread = threading.Thread(target=seen.append, args=(1,))
        thread.start()
        thread.join()
        assert seen == [1]
        assert chromadb.api.models.Collection.Collection.count is create
    finally:
        threading.Thread.run = getattr(thread_run, "__wrapped__", thread_run)  # type: ignore[method-assign]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented() as telemetry:
        yield telemetry


def test_a_second_instrument_records_each_call_once(telemetry: Telemetry) -> None:
    for _ in range(2):
        genledger.instrument(
            libraries=["openai"],
            destinations=[],
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
        )
    with genledger.attribution(tenant="acme"):
        chat()()
        assert genledger.spend().calls == 1
    assert len(telemetry.spans) == 1


def test_a_second_instrument_prices_the_spans_of_others_once_and_counts_on(telemetry: Telemetry) -> None:
    tracer = telemetry.tracer_provider.get_tracer("theirs")
    for round in range(1, 4):
        genledger.instrument(
            destinations=[], tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )
        with genledger.attribution(tenant="acme"):
            tracer.start_span(
                "chat gpt-4o",
                attributes={
                    "gen_ai.operation.name": "chat",
                    "gen_ai.provider.name": "openai",
                    "gen_ai.request.model": "gpt-4o",
                    "gen_ai.usage.input_tokens": 1_000_000,
                    "gen_ai.usage.output_tokens": 0,
                },
            ).end()
            assert genledger.spend() == (2.5, 1, 0, 1_000_000)
        genledger.flush()
        (point,) = points(telemetry, "genledger.cost")
        assert point.value == 2.5 * round
        (point,) = points(telemetry, "gen_ai.client.inference.duration")
        assert point.count == round


def test_each_meter_provider_counts_its_own_calls_also_when_one_comes_back(telemetry: Telemetry) -> None:
    other = Telemetry()
    for meters in (telemetry, other, telemetry):
        genledger.instrument(
            destinations=[], tracer_provider=telemetry.tracer_provider, meter_provider=meters.meter_provider
        )
        chat()()
        meters.reader.collect()
    for meters, calls in ((telemetry, 2), (other, 1)):
        (cost,) = points(meters, "genledger.cost")
        assert cost.value == pytest.approx(calls * COST)
        (duration,) = points(meters, "gen_ai.client.inference.duration")
        assert duration.count == calls
    other.meter_provider.shutdown()


def points(telemetry: Telemetry, name: str) -> list[Any]:
    data = telemetry.metrics
    assert data is not None
    return [
        point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def test_narrowing_the_libraries_puts_the_others_back(telemetry: Telemetry) -> None:
    assert set(load_instrumentors.patched()) == {"openai", "anthropic"}
    genledger.instrument(libraries=["anthropic"], destinations=[], tracer_provider=telemetry.tracer_provider)
    assert set(load_instrumentors.patched()) == {"anthropic"}
    chat()()
    assert telemetry.spans == ()
    genledger.instrument(exclude=["anthropic"], destinations=[], tracer_provider=telemetry.tracer_provider)
    assert "anthropic" not in load_instrumentors.patched()
    chat()()
    assert telemetry.span.name == "chat gpt-4o"


def test_after_uninstrument_nothing_is_recorded(telemetry: Telemetry) -> None:
    call = chat()
    call()
    genledger.uninstrument()
    call()
    theirs: Span = telemetry.tracer_provider.get_tracer("theirs").start_span("chat")
    theirs.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5})
    theirs.end()
    assert [span.name for span in telemetry.spans] == ["chat gpt-4o", "chat"]
    assert "genledger.outcome" not in (telemetry.spans[-1].attributes or {})
    assert genledger.spend() == (0.0, 0, 0, 0)


@pytest.mark.parametrize("first", ["instrument", "import"])
def test_patches_apply_whether_the_library_is_imported_before_or_after(
    first: str, tmp_path: Path, demo: dict[str, str]
) -> None:
    steps = ["import genledger\ngenledger.instrument()", CALL]
    if first == "import":
        steps.reverse()
    run(tmp_path, "\n".join([*steps, "call()"]), **demo)
    assert [row["library"] for row in rows(tmp_path / "ledger.db")] == ["openai"]


CLIENTS = ("openai", "anthropic", "chromadb", "langfuse", "genai_prices", "redis", "httpx", "httpx2")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {
            "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
            "LANGFUSE_SECRET_KEY": "sk-lf-1",
            "LANGFUSE_BASE_URL": "http://127.0.0.1:9",
            "GENLEDGER_SPOOL": "off",
        },
    ],
    ids=["nothing configured", "Langfuse"],
)
def test_instrument_imports_no_client_library(tmp_path: Path, variables: dict[str, str]) -> None:
    done = run(
        tmp_path,
        f"import sys, genledger\ngenledger.instrument()\nprint([name for name in {CLIENTS} if name in sys.modules])\n"
        "genledger.shutdown(0.1)",
        **variables,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("variables", "unused"),
    [
        (
            {},
            (
                "opentelemetry.sdk.metrics",
                "opentelemetry.sdk._logs",
                "requests",
                "pydantic",
                "genledger.budgets.rules.rule_file",
                "genledger.destinations.delivery.export_worker",
            ),
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "GENLEDGER_SPOOL": "off"},
            (
                "sqlite3",
                "genledger_semconv.registry",
                "opentelemetry.propagate",
                "genledger.destinations.delivery.spool",
                "genledger.destinations.ledger",
                *(f"genledger.destinations.selection.{part}" for part in ("tenant_routing", "sampling")),
            ),
        ),
    ],
    ids=["nothing configured", "OTLP"],
)
def test_a_start_imports_no_part_that_it_has_no_use_for(
    tmp_path: Path, variables: dict[str, str], unused: tuple[str, ...]
) -> None:
    done = run(
        tmp_path,
        f"import sys, genledger\ngenledger.instrument()\nprint([name for name in {unused} if name in sys.modules])\n"
        "genledger.shutdown(0.1)",
        **variables,
    )
    assert done.stdout == "[]\n"


# Providers and destinations


def test_with_nothing_configured_the_ledger_is_the_destination(tmp_path: Path, demo: dict[str, str]) -> None:
    del demo["GENLEDGER_LEDGER"]
    code = """
with genledger.attribution(tenant="acme", feature="copilot", user="u1", session="s1"):
    call()
    genledger.record_outcome("draft_accepted", 2)
"""
    done = run(tmp_path, f"import genledger\ngenledger.instrument()\n{CALL}\n{code}", **demo)
    ledger = tmp_path / "state" / "genledger" / "ledger.db"
    (call,) = rows(ledger)
    (outcome,) = rows(ledger, "SELECT * FROM outcomes")
    who = ("tenant", "feature", "user", "session")
    assert [call[name] for name in who] == ["acme", "copilot", "u1", "s1"]
    assert [outcome[name] for name in who] == ["acme", "copilot", "u1", "s1"]
    assert (outcome["name"], outcome["value"]) == ("draft_accepted", 2)
    assert call["cost_usd"] > 0
    assert done.stderr == ""


def test_a_tracer_provider_of_the_application_is_added_to_and_stays(tmp_path: Path, demo: dict[str, str]) -> None:
    code = f"""
import genledger
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
theirs = TracerProvider()
exporter = InMemorySpanExporter()
theirs.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(theirs)
genledger.instrument()
assert trace.get_tracer_provider() is theirs
{CALL}
with trace.get_tracer("app").start_as_current_span("request"):
    call()
genledger.uninstrument()
call()
trace.get_tracer("app").start_span("still here").end()
assert trace.get_tracer_provider() is theirs
print([span.name for span in exporter.get_finished_spans()])
"""
    done = run(tmp_path, code, **demo)
    assert done.stdout == "['chat gpt-4.1-mini', 'request', 'still here']\n"
    assert len(rows(tmp_path / "ledger.db")) == 1


def test_given_providers_are_used_as_they_are_and_nothing_global_is_made(tmp_path: Path, demo: dict[str, str]) -> None:
    code = f"""
import genledger
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
spans, reader, logs = InMemorySpanExporter(), InMemoryMetricReader(), InMemoryLogRecordExporter()
tracers, meters, loggers = TracerProvider(), MeterProvider([reader]), LoggerProvider()
tracers.add_span_processor(SimpleSpanProcessor(spans))
loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
genledger.instrument(
    tracer_provider=tracers, meter_provider=meters, logger_provider=loggers, emit_event=True
)
{CALL}
call()
print(len(spans.get_finished_spans()), len(logs.get_finished_logs()), reader.get_metrics_data() is not None)
print([type(one()).__name__ for one in (trace.get_tracer_provider, metrics.get_meter_provider, get_logger_provider)])
"""
    done = run(tmp_path, code, **demo)
    first, second = done.stdout.splitlines()
    assert first == "1 1 True"
    assert second == "['ProxyTracerProvider', '_ProxyMeterProvider', 'ProxyLoggerProvider']"
    assert not (tmp_path / "ledger.db").exists()


def test_otel_sdk_disabled_switches_everything_off(tmp_path: Path, demo: dict[str, str]) -> None:
    code = f"""
import genledger
genledger.instrument()
{CALL}
call()
from genledger.setup import load_instrumentors
print(load_instrumentors.patched(), genledger.flush(), genledger.spend().calls)
"""
    done = run(tmp_path, code, OTEL_SDK_DISABLED="true", **demo)
    assert done.stdout == "{} True 0\n"
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("variable", "value", "recorded"),
    [
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "requests,openai", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*", 0),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "anthropic", 1),
        ("GENLEDGER_EXCLUDE", "openai", 0),
        ("GENLEDGER_LIBRARIES", "anthropic, chromadb", 0),
        ("GENLEDGER_LIBRARIES", "openai", 1),
    ],
)
def test_variables_say_which_libraries_are_recorded(
    variable: str, value: str, recorded: int, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    genledger.instrument(destinations=[], tracer_provider=telemetry.tracer_provider)
    chat()()
    assert len(telemetry.spans) == recorded


class Sink:
    """A destination of the application's own."""

    def __init__(self) -> None:
        self.accepted: list[Any] = []
        self.done: list[str] = []

    def accept(self, record: Any) -> None:
        self.accepted.append(record)

    def flush(self, timeout: float) -> bool:
        self.done.append("flush")
        return True

    def shutdown(self, timeout: float) -> bool:
        self.done.append("shutdown")
        return True


def test_a_destination_object_gets_calls_and_outcomes_and_is_flushed_and_shut_down() -> None:
    sink = Sink()
    with instrumented(destinations=[sink]):
        with genledger.attribution(tenant="acme"):
            chat()()
            genledger.record_outcome("draft_accepted")
        call, outcome = sink.accepted
        assert call.cost.amount == pytest.approx(COST)
        assert call.attribution == outcome.attribution
        assert genledger.flush(60)
    assert sink.done == ["flush", "shutdown"]


class Seen(SpanProcessor):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.flushed = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.names.append(span.name)


class WithProcessor(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.processor = Seen()


def test_a_destination_object_with_a_processor_gets_the_spans() -> None:
    destination = WithProcessor()
    with instrumented(destinations=[destination]):
        chat()()
    assert destination.processor.names == ["chat gpt-4o"]
    assert len(destination.accepted) == 1


def test_flush_and_shutdown_return_in_time_whatever_a_destination_does(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    class Stuck(Sink):
        def flush(self, timeout: float) -> bool:
            return released.wait()

        shutdown = flush

    class Broken(Sink):
        def flush(self, timeout: float) -> bool:
            raise RuntimeError("no such thing")

        shutdown = flush

    fine = Sink()
    telemetry = Telemetry()
    try:
        genledger.instrument(
            libraries=[], destinations=[Stuck(), Broken(), fine], tracer_provider=telemetry.tracer_provider
        )
        # That these return at all is the point: nothing releases the stuck one before the end.
        assert genledger.flush(0.3) is False
        assert genledger.shutdown(0.3) is False
        assert fine.done == ["flush", "shutdown"]
        assert "RuntimeError: no such thing" in caplog.text
        assert genledger.flush(60) is True
        assert genledger.shutdown(60) is True
    finally:
        released.set()
        genledger.uninstrument()


def test_shutdown_before_instrument_and_twice_does_nothing() -> None:
    assert genledger.flush(60) is True
    assert genledger.shutdown(60) is True
    genledger.uninstrument()
    genledger.uninstrument()


# Receivers in trouble

CYCLES = """
import sys, threading, time
import genledger
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger
print(threading.active_count())
for _ in range(int(sys.argv[1])):
    genledger.instrument()
    metrics.get_meter("app").create_counter("calls").add(1)
    with trace.get_tracer("app").start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
        get_logger("app").emit(body="hello")
    started = time.monotonic()
    genledger.uninstrument()
    print(threading.active_count(), time.monotonic() - started)
"""


def cycles(directory: Path, times: int, **variables: str) -> tuple[int, list[int], float]:
    """Threads before, after each time that Genledger was switched on and off again, and how long the latter took."""
    done = run(directory, CYCLES.replace("sys.argv[1]", str(times)), **variables)
    first, *others = done.stdout.splitlines()
    counted = [line.split() for line in others]
    return int(first), [int(threads) for threads, _ in counted], sum(float(seconds) for _, seconds in counted)


def nobody() -> str:
    """An address at which connections are refused."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def langfuse_at(url: str) -> dict[str, str]:
    return {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": "sk-lf-1", "LANGFUSE_BASE_URL": url}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_switching_off_where_nobody_listens_takes_no_time_and_leaves_no_thread(tmp_path: Path, protocol: str) -> None:
    url = nobody()
    before, after, took = cycles(
        tmp_path, 10, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, **langfuse_at(url)
    )
    assert after == [before] * 10
    # Waiting for retries would take five seconds each time.
    assert took < 45


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_switching_off_leaves_no_thread_where_nothing_is_answered(tmp_path: Path, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        before, after, _ = cycles(
            tmp_path, 2, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_PROTOCOL=protocol, **langfuse_at(url)
        )
    assert after == [before] * 2


def test_switching_off_leaves_no_thread_of_the_ledger(tmp_path: Path) -> None:
    before, after, _ = cycles(tmp_path, 10)
    assert after == [before] * 10


def test_each_time_it_is_switched_on_every_signal_is_exported_and_none_in_between(tmp_path: Path) -> None:
    with Collector() as collector:
        cycles(tmp_path, 3, OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url)
        exported = Counter(request.path for request in collector.requests)
    assert exported == {"/v1/traces": 3, "/v1/metrics": 3, "/v1/logs": 3}


def test_a_script_of_one_call_exports_its_cost_as_0_and_then_as_the_amount(
    tmp_path: Path, demo: dict[str, str]
) -> None:
    with Collector() as collector:
        code = f"import genledger\ngenledger.instrument()\n{CALL}\ncall()"
        run(tmp_path, code, OTEL_EXPORTER_OTLP_ENDPOINT=collector.base_url, **demo)
        exported = [
            (point.as_double, len(point.exemplars))
            for request in collector.requests
            if request.path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(request.content).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "genledger.cost"
            for point in metric.sum.data_points
        ]
    (zero, none), (cost, one) = exported
    assert (zero, none, one) == (0.0, 0, 1)
    assert cost > 0


END = """
import sys, time
import genledger
from opentelemetry import metrics, trace
from opentelemetry._logs import get_logger
genledger.instrument()
metrics.get_meter("app").create_counter("calls").add(1)
with trace.get_tracer("app").start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
    get_logger("app").emit(body="hello")
started = time.monotonic()
done = genledger.shutdown(TIMEOUT)
print(done, time.monotonic() - started)
"""


def test_the_end_where_nobody_listens_takes_no_time_and_what_waits_is_on_disk(tmp_path: Path) -> None:
    # The exporters of OpenTelemetry go on for this long, seconds: one, two, four … after the other.
    done = run(tmp_path, END.replace("TIMEOUT", "100"), OTEL_EXPORTER_OTLP_ENDPOINT=nobody(),
               OTEL_EXPORTER_OTLP_TIMEOUT="90")  # fmt: skip
    delivered, took = done.stdout.split()
    assert delivered == "False"
    assert float(took) < 20
    assert "connection refused; records are kept and sent" in done.stderr
    assert on_disk(tmp_path) == 1


def test_an_end_without_any_time_keeps_what_was_recorded_for_the_next_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = run(tmp_path, END.replace("TIMEOUT", "0"), OTEL_EXPORTER_OTLP_ENDPOINT=url, **langfuse_at(url))
    assert done.stdout.startswith("False")
    for name in ("otlp", "langfuse"):
        assert f"destination {name} ({url}" in done.stderr
    assert done.stderr.count("1 records are on disk for the next process") == 2
    assert "lost" not in done.stderr
    assert on_disk(tmp_path) == 2


# Bad input: one line, and the application runs on

BAD_OPTIONS: list[Any] = [
    pytest.param({"librarys": ["openai"]}, ["instrument(librarys=", "did you mean libraries?"], id="unknown option"),
    pytest.param({"libraries": 5}, ["instrument(libraries=", "a list of names", "5"], id="no list"),
    pytest.param({"libraries": ["opanai"]}, ["no instrumentor for opanai", "openai"], id="unknown library"),
    pytest.param({"capture_content": "some"}, ["instrument(capture_content=", "'some'"], id="unknown mode"),
    pytest.param({"max_label_values": -1}, ["instrument(max_label_values=", "not negative"], id="negative number"),
    pytest.param({"max_label_values": "many"}, ["instrument(max_label_values=", "whole number"], id="no number"),
    pytest.param({"redact": ["emails"]}, ["instrument(redact=", "email"], id="unknown pattern"),
    pytest.param({"redactor": "x"}, ["instrument(redactor=", "function"], id="no function"),
    pytest.param({"log": "xml"}, ["instrument(log=", "plain, json"], id="unknown format"),
    pytest.param({"meter_provider": "x"}, ["instrument(meter_provider=", "get_meter"], id="no meter provider"),
    pytest.param({"logger_provider": 3}, ["instrument(logger_provider=", "get_logger"], id="no logger provider"),
    pytest.param({"destinations": ["ledgr"]}, ["destination ledgr", "ledger"], id="unknown destination"),
    pytest.param({"destinations": [object()]}, ["not a valid destination", "processor"], id="no destination"),
    pytest.param({"destinations": 5}, ["instrument(destinations=", "5"], id="destinations no list"),
    pytest.param({"prices": "/nowhere/prices.toml"}, ["prices", "/nowhere/prices.toml"], id="no price file"),
]


@pytest.mark.parametrize(("options", "says"), BAD_OPTIONS)
def test_a_bad_option_is_one_clear_line_and_calls_are_recorded(
    options: dict[str, Any], says: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry()
    options = {"destinations": [], "tracer_provider": telemetry.tracer_provider} | options
    genledger.instrument(**options)
    try:
        (line,) = errors(caplog)
        assert all(part in line for part in says), line
        assert "\n" not in line
        assert chat()().choices[0].message.content == "Paris."
        assert len(telemetry.spans) == ("opanai" not in str(options))
    finally:
        genledger.uninstrument()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


BROKEN_FILES: list[Any] = [
    pytest.param(lambda path: path.write_text("a = " + "[" * 100_000), "nested too deeply", id="arrays in arrays"),
    pytest.param(lambda path: path.write_text("a = " + "{a=" * 50_000), "nested too deeply", id="tables in tables"),
    pytest.param(
        lambda path: path.write_text(f"[[price]]\nmodel.{'a.' * 5_000}a = 1\n[[budget]]\nusd.{'a.' * 5_000}a = 1\n"),
        "",
        id="a value nested too deeply to be quoted",
    ),
    pytest.param(lambda path: path.write_text("a = " + "9" * 10_000), "digits", id="a number too long to be read"),
    pytest.param(lambda path: path.write_bytes(b"\xff\xfe\x00a"), "utf-8", id="not text"),
    pytest.param(_sparse, "more than 4,194,304 bytes", id="a gigabyte"),
    pytest.param(Path.mkdir, "not a regular file", id="a directory"),
    pytest.param(os.mkfifo, "not a regular file", id="a pipe that nobody writes to"),
    pytest.param(lambda path: path.symlink_to("/dev/zero"), "not a regular file", id="a device without end"),
    pytest.param(lambda path: path.symlink_to(path), "cannot be read", id="a link to itself"),
    pytest.param(lambda path: None, "No such file", id="nothing"),
    pytest.param(
        lambda path: path.touch(0),
        "Permission denied",
        id="a file of somebody else",
        marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
    ),
]


@pytest.mark.parametrize("option", ["prices", "budgets"])
@pytest.mark.parametrize(("make", "says"), BROKEN_FILES)
def test_a_broken_file_of_any_kind_is_one_clear_line_and_calls_are_recorded(
    option: str, make: Callable[[Path], object], says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "broken.toml"
    make(path)
    telemetry = Telemetry()
    genledger.instrument(**{option: path}, destinations=[], tracer_provider=telemetry.tracer_provider)
    try:
        (line,) = errors(caplog)
        assert line.startswith(f"genledger: {option}: {path}")
        assert says in line
        assert "\n" not in line
        assert len(line) < 3000
        assert chat()().choices[0].message.content == "Paris."
        assert len(telemetry.spans) == 1
    finally:
        genledger.uninstrument()


class Unspeakable:
    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


def _nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value", [Unspeakable(), _nested(), [Unspeakable()], {"a": Unspeakable()}], ids=["no text", "deep", "list", "table"]
)
def test_no_value_of_any_option_is_raised_into_the_application(value: Any) -> None:
    for option in fields(Settings):
        genledger.instrument(**{"destinations": [], "tracer_provider": Telemetry().tracer_provider, option.name: value})
        genledger.uninstrument()
        assert instrument.pipeline() is None, option.name


BAD_VARIABLES: list[Any] = [
    pytest.param("GENLEDGER_MAX_LABLE_VALUES", "5", ["did you mean GENLEDGER_MAX_LABEL_VALUES?"], id="misspelt"),
    pytest.param("GENLEDGER_MAX_LABEL_VALUES", "5k", ["whole number", "'5k'"], id="no number"),
    pytest.param("GENLEDGER_LOG_HASH_USERS", "perhaps", ["true or false"], id="no flag"),
    pytest.param("GENLEDGER_DESTINATIONS", "ledgr", ["destination ledgr"], id="unknown destination"),
    pytest.param(
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "everything", ["NO_CONTENT", "SPAN_ONLY"], id="mode"
    ),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD_VARIABLES)
def test_a_bad_variable_is_one_clear_line_with_its_name(
    name: str, value: str, says: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    telemetry = Telemetry()
    genledger.instrument(tracer_provider=telemetry.tracer_provider)
    try:
        (line,) = errors(caplog)
        assert name in line or name == "GENLEDGER_DESTINATIONS"
        assert all(part in line for part in says), line
        chat()()
        assert len(telemetry.spans) == 1
    finally:
        genledger.uninstrument()


BAD_PLACES: list[Any] = [
    pytest.param(
        {"GENLEDGER_LEDGER": "{directory}/application.py/ledger.db"},
        ["destination ledger", "application.py/ledger.db"],
        id="unwritable ledger",
    ),
    pytest.param(
        {"LANGFUSE_PUBLIC_KEY": "pk-lf-1"}, ["destination langfuse", "LANGFUSE_SECRET_KEY"], id="half of the keys"
    ),
    pytest.param(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "not a url", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        ["destination otlp", "not a url"],
        id="wrong endpoint",
    ),
    pytest.param({"OTEL_TRACES_EXPORTER": "jager"}, ["destination jager", "unknown destination"], id="no exporter"),
]


@pytest.mark.parametrize(("variables", "says"), BAD_PLACES)
def test_a_destination_that_cannot_work_is_one_clear_line_and_the_application_runs_on(
    variables: dict[str, str], says: list[str], tmp_path: Path, demo: dict[str, str]
) -> None:
    variables = {name: value.format(directory=tmp_path) for name, value in variables.items()}
    code = f"import genledger\ngenledger.instrument()\n{CALL}\ncall()\nprint(genledger.spend(), 'ran on')"
    done = run(tmp_path, code, **(demo | {"GENLEDGER_SPOOL": "off"} | variables))
    assert "ran on" in done.stdout
    line, *at_exit = done.stderr.splitlines()
    assert all(part in line for part in says), line
    assert all("1 records were lost at exit" in line for line in at_exit)


@pytest.mark.parametrize("name", ["", " ", "x" * 129, None, 5])
def test_an_outcome_needs_a_name(name: Any) -> None:
    with pytest.raises(ValueError, match="record_outcome"):
        genledger.record_outcome(name)


def test_a_bundle_without_metadata_says_that_nothing_is_recorded(tmp_path: Path) -> None:
    code = """
from importlib import metadata
def stripped(name):
    raise metadata.PackageNotFoundError(name)
metadata.distribution = stripped
import genledger
genledger.instrument(destinations=[])
"""
    assert "the package's metadata (genledger-*.dist-info) is missing" in run(tmp_path, code).stderr
