"""Spans of libraries that record their own work, in a step of a framework that nobody made current."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Tracer

from genledger.engine.steps import start_step
from genledger.instrumentation.adapters.native_parents import add_resolver, remove_resolver
from genledger_instrumentors.frameworks.openai_agents import OpenAIAgentsInstrumentor

from ....instrumentors.telemetry import instrumented


def test_a_native_span_that_begins_in_a_frameworks_step_is_inside_of_it() -> None:
    before = vars(Tracer)["start_span"]
    with instrumented() as telemetry:
        native, own = (telemetry.tracer_provider.get_tracer(scope) for scope in ("mcp-python-sdk", "application"))
        step = start_step("agent", "helper")
        resolver = lambda: step  # noqa: E731
        add_resolver(resolver)
        try:
            with native.start_as_current_span("MCP send tools/call weather"):
                native.start_span("near").end()
            native.start_span("apart", Context()).end()
            own.start_span("own").end()
        finally:
            remove_resolver(resolver)
            step.end()
        native.start_span("later").end()
        parents = {span.name: span.parent for span in telemetry.spans}
        tool = next(span for span in telemetry.spans if span.name == "execute_tool weather")
        assert parents["execute_tool weather"] == step.span.get_span_context()
        assert parents["near"] == tool.context
        assert parents["apart"] is parents["own"] is parents["later"] is None
    assert vars(Tracer)["start_span"] is before


def test_a_neighbours_call_is_inside_of_the_step_and_its_structure_keeps_its_own_parents() -> None:
    recorded = OpenAIAgentsInstrumentor()
    with instrumented(libraries=["openai"]) as telemetry:
        recorded.apply()
        tracers = telemetry.tracer_provider.get_tracer
        client, framework = (tracers(f"openinference.instrumentation.{name}") for name in ("openai", "openai_agents"))
        step = start_step("agent", "helper")
        resolver = lambda: step  # noqa: E731
        add_resolver(resolver)
        try:
            client.start_span("call", None).end()  # the context in its place, as Logfire gives it
            with framework.start_as_current_span("workflow"):
                framework.start_span("agent").end()
        finally:
            remove_resolver(resolver)
            recorded.uninstrument()
            step.end()
        parents = {span.name: span.parent for span in telemetry.spans}
        workflow = next(span for span in telemetry.spans if span.name == "workflow")
        assert parents["call"] == step.span.get_span_context()
        assert parents["workflow"] is None
        assert parents["agent"] == workflow.context
