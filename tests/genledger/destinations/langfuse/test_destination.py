from __future__ import annotations

from importlib.metadata import entry_points

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

import genledger
from genledger.destinations import ConfigurationError
from genledger.destinations.langfuse.destination import (
    LangfuseDestination,
    LangfuseProject,
    is_configured,
)
from genledger.destinations.langfuse.exporter import LangfuseSpanExporter
from standins.langfuse_reading import rows

from ....instrumentors.telemetry import instrumented

CHAT = {"gen_ai.operation.name": "chat"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LANGFUSE_PUBLIC_KEY": "pk-lf-1"}, "LANGFUSE_SECRET_KEY is not set"),
        ({"LANGFUSE_SECRET_KEY": "sk-lf-topsecret"}, "LANGFUSE_PUBLIC_KEY is not set"),
        ({}, "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"),
        ({"LANGFUSE_PUBLIC_KEY": "sk-lf-topsecret", "LANGFUSE_SECRET_KEY": "pk-lf-1"}, "swapped"),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "cloud.langfuse.com"},
            "'cloud.langfuse.com' is not a valid address",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_HOST": "ftp://x"},
            "'ftp://x' is not a valid address",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_BASE_URL": "https://u:topsecret@h"},
            "contains credentials",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_SAMPLE_RATE": "1.5"},
            "must be from 0 to 1",
        ),
        (
            {"LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk", "LANGFUSE_TIMEOUT": "soon"},
            "LANGFUSE_TIMEOUT='soon' is not a positive number",
        ),
    ],
)
def test_a_mistake_in_the_settings_is_one_clear_line_without_secrets(monkeypatch, variables, said) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        LangfuseDestination(spool=None)
    message = str(caught.value)
    assert said in message
    assert "\n" not in message
    assert "topsecret" not in message


def test_a_secret_shows_in_no_representation() -> None:
    project = LangfuseProject("pk-lf-1", "sk-lf-topsecret", "http://localhost:1")
    destination = LangfuseDestination(project, spool=None)
    assert "topsecret" not in repr(project) + repr(destination) + destination.describe()


def test_requests_are_what_langfuse_asks_for(langfuse_server) -> None:
    destination = LangfuseDestination(spool=None, threaded=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    destination.deliveries()[0].step()
    (request,) = langfuse_server.requests
    assert request.status == 200
    assert request.path == "/api/public/otel/v1/traces"
    assert request.headers["x-langfuse-ingestion-version"] == "4"
    assert request.headers["content-encoding"] == "gzip"
    assert "x-langfuse-sdk-name" not in request.headers


def test_the_settings_of_langfuses_sdk_mean_what_they_mean_there(langfuse_server, monkeypatch) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "Staging")
    monkeypatch.setenv("GITHUB_SHA", "abc123")
    monkeypatch.setenv("LANGFUSE_FLUSH_AT", "7")
    monkeypatch.setenv("LANGFUSE_FLUSH_INTERVAL", "2.5")
    monkeypatch.setenv("LANGFUSE_TIMEOUT", "3")
    for name in ("RENDER_GIT_COMMIT", "CI_COMMIT_SHA", "CIRCLE_SHA1", "SOURCE_VERSION", "TRAVIS_COMMIT", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    destination = LangfuseDestination(spool=None, threaded=False)
    (delivery,) = destination.deliveries()
    assert (delivery.limits.batch_spans, delivery.limits.delay_s, delivery.limits.timeout_s) == (7, 2.5, 3.0)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(destination.processor)
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    delivery.step()
    (span,) = langfuse_server.spans()
    assert span.attributes["langfuse.environment"] == "staging"
    assert span.attributes["langfuse.release"] == "abc123"
    monkeypatch.setenv("LANGFUSE_RELEASE", "r9")
    assert LangfuseDestination(spool=None).describe()


def test_a_probe_says_whether_langfuse_takes_our_keys(langfuse_server) -> None:
    assert LangfuseDestination(spool=None).probe() is None
    wrong = LangfuseProject(langfuse_server.public_key, "sk-lf-wrong", langfuse_server.base_url)
    problem = LangfuseDestination(wrong, spool=None).probe()
    assert problem is not None
    assert "401" in problem
    assert "sk-lf-wrong" not in problem
    langfuse_server.stop()
    problem = LangfuseDestination(spool=None).probe()
    assert problem is not None
    assert "connection refused" in problem


def test_the_exporter_for_the_stock_distro_sends_the_same(langfuse_server, tmp_path, monkeypatch) -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(LangfuseSpanExporter()))
    tracer = provider.get_tracer("app")
    with (
        tracer.start_as_current_span("POST /", kind=SpanKind.SERVER),
        tracer.start_as_current_span("work"),
        tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT, attributes={"db.system.name": "pg"}),
        tracer.start_as_current_span("chat", attributes=CHAT),
    ):
        pass
    assert provider.force_flush(5000)
    provider.shutdown()
    sent = langfuse_server.by_name()
    assert set(sent) == {"work", "chat"}
    assert sent["chat"].parent == sent["work"].key[1]
    assert sent["work"].parent == ""
    assert sent["work"].attributes["langfuse.internal.is_app_root"] is True
    assert sent["chat"].attributes["langfuse.observation.type"] == "generation"


def test_the_exporter_is_what_the_entry_point_names(langfuse_server, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (named,) = entry_points(group="opentelemetry_traces_exporter", name="langfuse")
    exporter = named.load()()
    assert type(exporter) is LangfuseSpanExporter
    exporter.shutdown()


def test_tracing_can_be_switched_off_as_in_langfuses_sdk(langfuse_server, tmp_path, monkeypatch) -> None:
    assert is_configured()
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "false")
    assert not is_configured()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    exporter = LangfuseSpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("app").start_span("chat", attributes=CHAT).end()
    exporter.force_flush()
    exporter.shutdown()
    assert langfuse_server.requests == []


def test_the_bounds_of_the_specification_are_the_default(langfuse_server, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "2500")
    monkeypatch.setenv("LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES", "1000000")
    limits = LangfuseDestination(spool=None).deliveries()[0].limits
    assert (limits.queue_spans, limits.batch_spans, limits.delay_s, limits.batch_bytes) == (100, 50, 2.5, 1_000_000)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    with pytest.raises(ConfigurationError, match="OTEL_BSP_MAX_QUEUE_SIZE='many'"):
        LangfuseDestination(spool=None)


def test_the_input_and_output_of_a_trace_are_those_of_its_root(langfuse_server) -> None:
    @genledger.observe(kind="workflow")
    def answer(question: str) -> str:
        return lookup(question)

    @genledger.observe(kind="tool")
    def lookup(name: str) -> str:
        return name.upper()

    @genledger.observe
    def add(left: int, right: int) -> int:
        return left + right

    with instrumented(capture_content=True, destinations=["langfuse"], spool="off"):
        answer("who?")
        add(0, 0)
    found = rows(langfuse_server)
    root = found["invoke_workflow answer"]
    assert root.root
    assert root.input == [{"role": "user", "content": "who?"}]
    assert root.output == {"role": "assistant", "content": "WHO?"}
    tool = found["execute_tool lookup"]
    assert (tool.input, tool.output) == ({"name": "who?"}, {"result": "WHO?"})
    task = found["add"]
    assert (task.input, task.output) == ({"left": 0, "right": 0}, {"result": 0})
    assert not [name for name in task.metadata if name.startswith("task_")]


@pytest.mark.parametrize(("on", "tags"), [(True, ("beta", "feature:copilot", "tenant:acme")), (False, ("beta",))])
def test_spend_can_be_grouped_by_feature_and_tenant_unless_the_tags_are_the_applications(
    langfuse_server, on, tags
) -> None:
    with (
        instrumented(destinations=["langfuse"], spool="off", langfuse_tags=on),
        genledger.attribution(tenant="acme", feature="copilot", tags=["beta"]),
        genledger.observe("step"),
    ):
        pass
    step = rows(langfuse_server)["step"]
    assert step.tags == tags
    assert (step.metadata["tenantId"], step.metadata["feature"]) == ("acme", "copilot")


@pytest.mark.parametrize(("named", "expected"), [("feature", "copilot"), ("span", "step"), (None, "step")])
def test_traces_can_be_called_by_their_feature(langfuse_server, named, expected) -> None:
    with (
        instrumented(destinations=["langfuse"], spool="off", langfuse_trace_name=named),
        genledger.attribution(feature="copilot"),
        genledger.observe("step"),
    ):
        pass
    assert rows(langfuse_server)["step"].trace_name == expected
