"""Datadog's test agent receives traces, metrics and logs, over HTTP and gRPC, and gives them back decoded."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from backends.servers import Backend
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint, otlp_log_processor, otlp_metrics_reader

PROTOCOLS = {"http/protobuf": "otlp", "grpc": "grpc"}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest, ddapm: Backend, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", ddapm.url(PROTOCOLS[request.param]))
    ddapm.get("otlp", "/test/session/clear")
    return request.param


def received(ddapm: Backend, signal: str, *path: str) -> list[Any]:
    """What arrived, followed down through lists of the given names."""
    deadline = time.monotonic() + 10
    while True:
        level = ddapm.get("otlp", f"/test/session/{signal}")
        for name in path:
            level = [inner for outer in level for inner in outer.get(name, ())]
        if level or time.monotonic() > deadline:
            return level
        time.sleep(0.1)


def values(entries: list[Any]) -> dict[str, Any]:
    return {entry["key"]: next(iter(entry["value"].values())) for entry in entries}


def test_traces(ddapm: Backend, protocol: str) -> None:
    destination = OtlpDestination(spool=None)
    assert destination.probe() is None
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    tracer = provider.get_tracer("genledger", "1")
    with tracer.start_as_current_span("invoke_workflow draft") as workflow:
        attributes = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "genledger.cost.amount": 0.25}
        tracer.start_span("chat gpt-4o", attributes=attributes).end()
    assert destination.flush(60)
    destination.shutdown(5)
    spans = {span["name"]: span for span in received(ddapm, "traces", "resource_spans", "scope_spans", "spans")}
    assert set(spans) == {"invoke_workflow draft", "chat gpt-4o"}
    chat = spans["chat gpt-4o"]
    assert base64.b64decode(chat["parent_span_id"]).hex() == f"{workflow.get_span_context().span_id:016x}"
    assert values(chat["attributes"]) == {
        "gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": "7", "genledger.cost.amount": 0.25,
    }  # fmt: skip


def test_a_thousand_spans_arrive_once_each(ddapm: Backend, protocol: str) -> None:
    endpoint = OtlpEndpoint.from_environment()
    destination = OtlpDestination(endpoint, spool=None)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    for number in range(1_000):
        provider.get_tracer("app").start_span(str(number)).end()
    assert destination.flush(20)
    destination.shutdown(5)
    names = [span["name"] for span in received(ddapm, "traces", "resource_spans", "scope_spans", "spans")]
    assert sorted(names, key=int) == [str(number) for number in range(1_000)]


def test_metrics(ddapm: Backend, protocol: str) -> None:
    provider = MeterProvider([otlp_metrics_reader()], shutdown_on_exit=False)
    provider.get_meter("genledger").create_counter("genledger.cost", "USD").add(0.5, {"genledger.feature": "copilot"})
    assert provider.force_flush(10_000)
    provider.shutdown()
    (metric, *_) = received(ddapm, "metrics", "resource_metrics", "scope_metrics", "metrics")
    assert (metric["name"], metric["unit"]) == ("genledger.cost", "USD")
    (point,) = metric["sum"]["data_points"]
    assert point["as_double"] == 0.5
    assert values(point["attributes"]) == {"genledger.feature": "copilot"}


def test_logs(ddapm: Backend, protocol: str) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(otlp_log_processor())
    provider.get_logger("genledger").emit(
        severity_number=SeverityNumber.DEBUG, event_name="gen_ai.client.inference.operation.details", body="x"
    )
    assert provider.force_flush(10_000)
    provider.shutdown()
    (record, *_) = received(ddapm, "logs", "resource_logs", "scope_logs", "log_records")
    assert record["event_name"] == "gen_ai.client.inference.operation.details"
