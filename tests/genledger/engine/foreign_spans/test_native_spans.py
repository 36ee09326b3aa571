"""Spans of frameworks that record their own work, made by hand under their scopes: steps like ours, each once."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, Tracer, use_span

import genledger
from genledger.budgets import budget
from genledger.engine.foreign_spans.native_scopes import rows
from genledger.engine.foreign_spans.places import MAX_HIDDEN
from genledger.engine.record import CallRecord
from genledger.engine.recorder import activate
from genledger.shared import internal_errors
from genledger_instrumentors.providers.openai import OpenAIInstrumentor

from ....instrumentors import openai_format as wire
from ....instrumentors.destination import Destination
from ....instrumentors.frameworks.runs import tree
from ....instrumentors.provider import Provider, answer
from ....instrumentors.telemetry import Telemetry, attributes_of, instrumented


@pytest.fixture
def destination() -> Destination:
    return Destination()


@pytest.fixture
def telemetry(destination: Destination) -> Iterator[Telemetry]:
    with instrumented(destinations=[destination]) as telemetry:
        yield telemetry
        assert not telemetry.complaints.other


def tracer(telemetry: Telemetry, scope: str) -> Tracer:
    """A framework's tracer."""
    return telemetry.tracer_provider.get_tracer(scope)


def ask(messages: Any = wire.USER) -> None:
    """One call of a provider."""
    provider = Provider(asynchronous=False)
    provider.will(answer(wire.chat()))
    provider.openai().chat.completions.create(model="gpt-4o", messages=messages)


def points(telemetry: Telemetry, name: str) -> dict[str, tuple[int, float]]:
    """Count and sum of a histogram's points, by the agent, tool or workflow."""
    data = telemetry.metrics
    assert data is not None
    return {
        str(next((point.attributes[key] for key in point.attributes if key.endswith(".name")), "")): (
            point.count,
            point.sum,
        )
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


@pytest.mark.parametrize(
    ("scope", "span", "attributes", "adopted"),
    [
        ("pydantic-ai", "invoke_agent x", {}, "invoke_agent x"),
        ("pydantic-ai", "agent run", {"agent_name": "x"}, "invoke_agent x"),
        ("pydantic-ai", "agent run", {}, "invoke_agent"),
        ("pydantic-ai", "running tool", {"gen_ai.tool.name": "x"}, "execute_tool x"),
        ("mcp-python-sdk", "MCP send tools/call x", {}, "execute_tool x"),
        ("mcp-python-sdk", "tools/call x", {"gen_ai.operation.name": "execute_tool"}, "execute_tool x"),
        ("fastmcp", "tools/call x", {}, "execute_tool x"),
        ("gcp.vertex.agent", "invocation", {}, "invoke_workflow"),
        ("gcp.vertex.agent", "agent_run [x]", {}, "invoke_agent x"),
        ("gcp.vertex.agent", "tool_call [x]", {}, "execute_tool x"),
        ("gcp.vertex.agent", "execute_tool x", {}, "execute_tool x"),
        ("strands.telemetry.tracer", "invoke_swarm", {}, "invoke_workflow"),
        ("agent_framework", "invoke_agent x", {}, "invoke_agent x"),
        ("agent_framework", "workflow.run", {"workflow.name": "x"}, "invoke_workflow x"),
        ("semantic_kernel.functions.kernel_function", "execute_tool x", {}, "execute_tool x"),
        ("autogen-core", "invoke_agent x", {}, "invoke_agent x"),
        ("livekit-agents", "agent_session", {}, "invoke_workflow"),
        ("livekit-agents", "function_tool", {"lk.function_tool.name": "x"}, "execute_tool x"),
        ("pipecat.turn", "conversation", {}, "invoke_workflow"),
    ],
)
def test_a_step_has_the_conventions_name_and_operation(
    telemetry: Telemetry, scope: str, span: str, attributes: dict[str, Any], adopted: str
) -> None:
    tracer(telemetry, scope).start_span(span, attributes=attributes).end()
    operation, _, name = adopted.partition(" ")
    found = telemetry.attributes
    assert telemetry.span.name == adopted
    assert found["gen_ai.operation.name"] == operation
    naming = {"invoke_agent": "agent", "execute_tool": "tool", "invoke_workflow": "workflow"}[operation]
    assert found.get(f"gen_ai.{naming}.name") == (name or None)
    assert not {"agent_name", "workflow.name", "lk.function_tool.name"} & found.keys()


def test_a_tool_whose_name_comes_late_has_it(telemetry: Telemetry) -> None:
    with tracer(telemetry, "fastmcp").start_as_current_span("tools/call", kind=SpanKind.SERVER) as span:
        span.update_name("tools/call weather")
        span.set_attribute("gen_ai.tool.name", "weather")
    assert telemetry.span.name == "execute_tool weather"
    assert points(telemetry, "gen_ai.execute_tool.duration").keys() == {"weather"}


def test_spans_of_other_scopes_keep_their_names(telemetry: Telemetry) -> None:
    for scope in ("another.instrumentation", "semantic_kernel_addon", "pydantic-ai.more"):
        tracer(telemetry, scope).start_span("agent run").end()
    assert {span.name for span in telemetry.spans} == {"agent run"}


def test_steps_are_counted_with_the_calls_and_tools_inside(telemetry: Telemetry) -> None:
    native = tracer(telemetry, "pydantic-ai")
    with native.start_as_current_span("invoke_agent helper"):
        with native.start_as_current_span("chat gpt-4o"):
            ask()
        with native.start_as_current_span("execute_tool weather"), genledger.observe("look up"):
            ask()
    assert points(telemetry, "gen_ai.invoke_agent.inference_calls") == {"helper": (1, 2)}
    assert points(telemetry, "gen_ai.invoke_agent.tool_calls") == {"helper": (1, 1)}
    assert points(telemetry, "gen_ai.invoke_agent.duration").keys() == {"helper"}
    assert points(telemetry, "gen_ai.execute_tool.duration").keys() == {"weather"}


def test_a_step_shows_the_totals_of_the_calls_inside(telemetry: Telemetry) -> None:
    native = tracer(telemetry, "strands.telemetry.tracer")
    with genledger.attribution(tenant="acme"), native.start_as_current_span("invoke_agent helper"):
        with native.start_as_current_span("execute_event_loop_cycle"), native.start_as_current_span("chat"):
            ask()
        with native.start_as_current_span("execute_tool weather"):
            with genledger.observe("look up"), genledger.attribution(feature="search"):
                ask()
                assert genledger.spend().calls == 1
            with tracer(telemetry, "another.instrumentation").start_as_current_span("GET /"):
                ask()
            assert genledger.spend().calls == 2
        with genledger.observe("inner", kind="agent"), native.start_as_current_span("execute_tool nothing"):
            pass
        assert genledger.spend().calls == 3
    with native.start_as_current_span("invoke_agent other"):
        ask()
    totals = {span.name: attributes_of(span).get("genledger.total.calls") for span in telemetry.spans}
    assert {name: calls for name, calls in totals.items() if calls} == {
        "invoke_agent helper": 3,
        "execute_tool weather": 2,
        "look up": 1,
        "invoke_agent other": 1,
    }
    costs = [attributes_of(span).get("genledger.cost.amount", 0) for span in telemetry.spans]
    shown = telemetry.attributes_of("invoke_agent helper")["genledger.total.cost"]
    assert shown == pytest.approx(sum(costs) * 3 / 4)


def test_calls_count_in_the_block_that_they_are_made_in_whichever_native_step_is_current(telemetry: Telemetry) -> None:
    step = tracer(telemetry, "pydantic-ai").start_span("invoke_agent helper")
    with genledger.attribution(tenant="acme"), use_span(step):
        ask()
        assert genledger.spend().calls == 1
    with use_span(step, end_on_exit=True):
        with genledger.attribution(tenant="acme"):
            ask()
        assert genledger.spend().calls == 1
    assert genledger.spend().calls == 0


def test_a_step_that_failed_is_counted_with_its_error(telemetry: Telemetry) -> None:
    with (
        pytest.raises(ValueError, match="no"),
        tracer(telemetry, "strands.telemetry.tracer").start_as_current_span("execute_tool weather"),
    ):
        raise ValueError("no")
    data = telemetry.metrics
    assert data is not None
    (point,) = [
        point
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == "gen_ai.execute_tool.duration"
        for point in metric.data.data_points
    ]
    assert point.attributes["error.type"] == "ValueError"


def test_mcp_inside_a_frameworks_tool_is_one_tool(telemetry: Telemetry) -> None:
    with (
        tracer(telemetry, "strands.telemetry.tracer").start_as_current_span("invoke_agent helper"),
        tracer(telemetry, "strands.telemetry.tracer").start_as_current_span("execute_tool weather"),
        tracer(telemetry, "mcp-python-sdk").start_as_current_span("MCP send tools/call weather"),
        tracer(telemetry, "fastmcp").start_as_current_span("tools/call") as span,
    ):
        span.update_name("tools/call weather")
    assert points(telemetry, "gen_ai.invoke_agent.tool_calls") == {"helper": (1, 1)}
    assert points(telemetry, "gen_ai.execute_tool.duration")["weather"][0] == 1
    assert [span.name for span in telemetry.spans] == ["execute_tool weather"] * 3 + ["invoke_agent helper"]


def test_a_budget_of_a_run_counts_in_a_native_agent(destination: Destination) -> None:
    with instrumented(
        destinations=[destination], budgets=[budget(steps=2, per="run")], budget_store="memory:"
    ) as telemetry:
        native = tracer(telemetry, "agent_framework")
        for _ in range(2):  # a budget for each
            with native.start_as_current_span("invoke_agent helper"):
                ask()
                with native.start_as_current_span("chat gpt-4o"):
                    ask()
                with pytest.raises(genledger.BudgetExceeded):
                    ask()
        ask()  # in none


def test_a_budget_of_repeats_counts_the_same_native_tool_with_the_same_arguments(destination: Destination) -> None:
    with instrumented(
        destinations=[destination], budgets=[budget(repeats=2, per="run")], budget_store="memory:"
    ) as telemetry:
        native = tracer(telemetry, "pydantic-ai")

        def turn(**attributes: str) -> None:
            given = {name.replace("__", "."): value for name, value in attributes.items()}
            native.start_span("execute_tool search", attributes=given).end()
            ask()

        with native.start_as_current_span("invoke_agent helper"):
            for number in range(4):
                turn(gen_ai__tool__call__arguments=f'{{"page": {number}}}')
                turn()  # what is not told is not the same
            turn(gen_ai__tool__call__arguments="{}")
            turn(gen_ai__tool__call__arguments="{}")
            with pytest.raises(genledger.BudgetExceeded):
                turn(gen_ai__tool__call__arguments="{}")


def test_a_budget_of_repeats_goes_by_the_request_where_a_native_tool_does_not_tell_its_arguments(
    destination: Destination,
) -> None:
    with instrumented(
        destinations=[destination], budgets=[budget(repeats=2, per="run")], budget_store="memory:"
    ) as telemetry:
        native = tracer(telemetry, "pydantic-ai")
        said: list[Any] = list(wire.USER)

        def turn(*arguments: str, inside: bool = False) -> None:
            calls = [
                {"id": "c", "type": "function", "function": {"name": "search", "arguments": text}} for text in arguments
            ]
            said.append({"role": "assistant", "content": None, "tool_calls": calls})
            for _ in arguments:
                with native.start_as_current_span("execute_tool search"):
                    if inside:  # a call of the tool's own, whose request tells nothing of it
                        ask()
                said.append({"role": "tool", "tool_call_id": "c", "content": ""})
            ask(messages=said)

        with native.start_as_current_span("invoke_agent helper"):
            for number in range(4):
                turn(f'{{"page": {number}}}')
            turn('{"page": 9}', "{}")
            turn("{}", inside=True)
            with pytest.raises(genledger.BudgetExceeded):
                turn("{ }")


def test_a_budget_of_depth_counts_native_agents_and_ours(destination: Destination) -> None:
    with instrumented(
        destinations=[destination], budgets=[budget(depth=1, per="run")], budget_store="memory:"
    ) as telemetry:
        native = tracer(telemetry, "pydantic-ai")
        with genledger.observe("outer", kind="agent"), native.start_as_current_span("invoke_agent inner"):
            ask()
            with genledger.observe("innermost", kind="agent"), pytest.raises(genledger.BudgetExceeded):
                ask()


HIDDEN_TREE = """\
invoke_agent helper
  chat
    chat gpt-4o
  look up
    chat gpt-4o
"""


def test_plumbing_is_hidden_and_what_is_inside_hangs_on_what_is_shown(
    telemetry: Telemetry, destination: Destination
) -> None:
    native = tracer(telemetry, "strands.telemetry.tracer")
    with native.start_as_current_span("invoke_agent helper"):
        with native.start_as_current_span("execute_event_loop_cycle"), native.start_as_current_span("chat"):
            ask()
        with (
            native.start_as_current_span("execute_event_loop_cycle"),
            native.start_as_current_span("execute_event_loop_cycle"),
            genledger.observe("look up"),
        ):
            ask()
    assert tree(destination.spans) == HIDDEN_TREE
    known = {span.context.span_id for span in destination.spans if span.context}
    assert {record.parent_span_id for record in destination.records} <= known
    assert len([span for span in telemetry.spans if span.name == "execute_event_loop_cycle"]) == 3, "theirs to export"


def test_children_of_a_hidden_root_stay_in_one_trace(telemetry: Telemetry, destination: Destination) -> None:
    native = tracer(telemetry, "autogen SingleThreadedAgentRuntime")
    with native.start_as_current_span("autogen process helper"):
        ask()
        with tracer(telemetry, "autogen-core").start_as_current_span("invoke_agent helper"):
            ask()
    assert tree(destination.spans) == "chat gpt-4o\ninvoke_agent helper\n  chat gpt-4o\n"
    assert len({span.context.trace_id for span in destination.spans if span.context}) == 1


def test_hidden_spans_that_never_end_are_bounded(telemetry: Telemetry, destination: Destination) -> None:
    native = tracer(telemetry, "mcp-python-sdk")
    for _ in range(MAX_HIDDEN + 10):
        native.start_span("ping")
    ask()
    assert tree(destination.spans) == "chat gpt-4o\n"


USAGE = {"gen_ai.usage.input_tokens": 1200, "gen_ai.usage.output_tokens": 300, "gen_ai.usage.prompt_tokens": 1200}


def test_a_sum_on_an_agent_is_an_aggregate_and_a_covered_call_has_no_usage(telemetry: Telemetry) -> None:
    native = tracer(telemetry, "strands.telemetry.tracer")
    with (
        native.start_as_current_span("invoke_agent helper", attributes=USAGE),
        native.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat", **USAGE}),
    ):
        ask()
    agent, covered = telemetry.attributes_of("invoke_agent helper"), telemetry.attributes_of("chat")
    assert agent["gen_ai.aggregated_usage.input_tokens"] == 1200
    assert not [name for name in (*agent, *covered) if name.startswith("gen_ai.usage.")]
    assert not [name for name in covered if name.startswith("gen_ai.aggregated_usage.")]


def test_a_native_call_that_no_client_of_ours_makes_is_priced(telemetry: Telemetry, destination: Destination) -> None:
    native = tracer(telemetry, "pydantic-ai")
    call = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"}
    with genledger.attribution(tenant="acme"), native.start_as_current_span("invoke_agent helper", attributes=USAGE):
        native.start_span("chat gpt-4o", attributes={**call, **USAGE}).end()
        assert genledger.spend().calls == 1
    assert telemetry.attributes_of("chat gpt-4o")["gen_ai.usage.input_tokens"] == 1200
    assert telemetry.attributes_of("chat gpt-4o")["gen_ai.provider.name"] == "openai"
    assert "gen_ai.usage.input_tokens" not in telemetry.attributes_of("invoke_agent helper")
    assert [record.provider for record in destination.records if isinstance(record, CallRecord)] == ["openai"]


def test_what_a_framework_says_in_its_own_words_is_put_right(telemetry: Telemetry) -> None:
    own = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "microsoft.agent_framework",
        "server.address": "https://api.example.com:8443/v1",
        "gen_ai.response.finish_reason": "FinishReason.TOOL_CALLS",
    }
    with tracer(telemetry, "agent_framework").start_as_current_span("chat gpt-4o", attributes=own):
        ask()
    (span,) = [span for span in telemetry.spans if span.instrumentation_scope is not None
               and span.instrumentation_scope.name == "agent_framework"]  # fmt: skip
    found = attributes_of(span)
    assert found["gen_ai.provider.name"] == "openai", "the covered call's"
    assert (found["server.address"], found["server.port"]) == ("api.example.com", 8443)
    assert found["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert not {"gen_ai.system", "gen_ai.response.finish_reason"} & found.keys()


def with_content(telemetry: Telemetry) -> None:
    """A span that quotes, as google-adk and strands write it whether or not anybody asked."""
    own = {"gcp.vertex.agent.llm_request": '{"text": "mail me at a@example.com"}', "gcp.vertex.agent.event_id": "e"}
    tracer(telemetry, "gcp.vertex.agent").start_span("execute_tool x", attributes=own).end()
    said = {"tool.arguments": '{"to": "a@example.com"}', "tool.result": "mail me at", "tool.call_id": "1"}
    tracer(telemetry, "pipecat").start_span("llm_tool_call", attributes=said).end()
    span = tracer(telemetry, "strands.telemetry.tracer").start_span("chat")
    span.add_event("gen_ai.user.message", {"content": "mail me at a@example.com"})
    span.end()


def test_content_that_nobody_asked_for_stays_with_the_application(
    telemetry: Telemetry, destination: Destination
) -> None:
    with_content(telemetry)
    assert "gcp.vertex.agent.llm_request" in telemetry.attributes_of("execute_tool x")
    tool, called, chat = destination.spans
    assert {name for name in attributes_of(tool) if name.startswith("gcp.")} == {"gcp.vertex.agent.event_id"}
    assert attributes_of(called) == {"tool.call_id": "1"}
    assert not chat.events


def test_content_that_is_captured_is_redacted(destination: Destination) -> None:
    with instrumented(destinations=[destination], capture_content="span") as telemetry:
        with_content(telemetry)
    tool, called, chat = destination.spans
    assert "mail me at" in str(attributes_of(called))
    assert "a@example.com" not in str(attributes_of(called))
    assert "mail me at" in str(attributes_of(tool)["gcp.vertex.agent.llm_request"])
    assert "a@example.com" not in str(attributes_of(tool))
    assert "a@example.com" not in str([event.attributes for event in chat.events])


def test_the_conversation_of_a_framework_is_the_session_of_calls_that_have_none(
    telemetry: Telemetry, destination: Destination
) -> None:
    native = tracer(telemetry, "pydantic-ai")
    with native.start_as_current_span("chat gpt-4o", attributes={"gen_ai.conversation.id": "c-1"}):
        ask()
    with (
        native.start_as_current_span("invoke_agent helper", attributes={"gen_ai.conversation.id": "c-1"}),
        genledger.attribution(tenant="acme"),
    ):
        ask()
        with genledger.attribution(session="own"):
            ask()
    with native.start_as_current_span("invoke_agent helper", attributes={"gen_ai.conversation.id": "x" * 10_000}):
        ask()
    found = [(record.attribution.tenant, record.attribution.session) for record in destination.records]
    assert found == [(None, "c-1"), ("acme", "c-1"), ("acme", "own"), (None, None)]


def test_native_spans_are_as_they_are_while_nothing_is_recorded(telemetry: Telemetry) -> None:
    genledger.uninstrument()
    tracer(telemetry, "pydantic-ai").start_span("agent run", attributes=USAGE).end()
    assert telemetry.span.name == "agent run"
    assert telemetry.attributes == USAGE


def test_a_table_that_cannot_be_read_is_left_out_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(point: EntryPoint) -> object:
        raise ModuleNotFoundError("an installation that was moved")

    monkeypatch.setattr(EntryPoint, "load", fail)
    before = internal_errors.counts().get("reading a table of native scopes", 0)
    assert list(rows()) == []
    assert internal_errors.counts()["reading a table of native scopes"] > before


def test_the_table_holds_under_other_distributions(telemetry: Telemetry) -> None:
    genledger.uninstrument()
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider)
    try:
        with tracer(telemetry, "pydantic-ai").start_as_current_span("agent run", attributes={"agent_name": "helper"}):
            ask()
    finally:
        instrumentor.uninstrument()
        activate(None)
    assert tree(telemetry.spans) == "invoke_agent helper\n  chat gpt-4o\n"
    assert points(telemetry, "gen_ai.invoke_agent.inference_calls") == {"helper": (1, 1)}
