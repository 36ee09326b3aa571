"""Runs that a framework reports in callbacks: which step each becomes, and whose step belongs to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.context import attach, detach, get_current
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.context.totals import run_in
from genledger.instrumentation.adapters.callbacks import Runs, Unit, first, then
from genledger_semconv import attributes as A

GIVEN = {A.GEN_AI_CONVERSATION_ID: "thread-1", A.GEN_AI_TOOL_CALL_ID: ""}


def unit(name: str, *, agent: str | None = None, node: bool = False) -> Unit:
    """What a framework tells of a run."""
    return Unit(name, agent, node, GIVEN)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=[]) as telemetry:
        yield telemetry


@pytest.mark.parametrize(
    ("parent", "told", "expected"),
    [
        pytest.param(None, unit("flow"), "invoke_workflow flow", id="a workflow, where nothing is around it"),
        pytest.param(None, unit("flow", node=True), "invoke_workflow flow", id="a workflow, even if it is a node"),
        pytest.param("graph", unit("model", agent="clerk"), "invoke_agent clerk", id="an agent, where it is one"),
        pytest.param("graph", unit("first", node=True), "first", id="a task, where it is a node"),
        pytest.param("graph", unit("sequence"), None, id="no step otherwise"),
    ],
)
def test_a_run_without_a_kind_becomes(
    telemetry: Telemetry, parent: str | None, told: Unit, expected: str | None
) -> None:
    runs = Runs(lambda: None)
    runs.start_unit("run", parent, told, dict)
    runs.start("inside", "run", "tool", "lookup")
    for run in ("inside", "run"):
        runs.end(run)
    tool, *outer = telemetry.spans
    assert [span.name for span in outer] == ([] if expected is None else [expected])
    assert (tool.parent and tool.parent.span_id) == (outer[0].context.span_id if outer and outer[0].context else None)


def test_a_step_has_the_attributes_that_are_not_empty(telemetry: Telemetry) -> None:
    runs = Runs(lambda: None)
    runs.start_unit("run", None, unit("flow"), dict)
    runs.end("run")
    found = attributes_of(telemetry.spans[0])
    assert found[A.GEN_AI_CONVERSATION_ID] == "thread-1"
    assert A.GEN_AI_TOOL_CALL_ID not in found


def test_what_the_application_began_in_a_run_is_nearer_than_the_run(telemetry: Telemetry) -> None:
    runs = Runs(lambda: None)
    runs.start("run", None, "workflow", "flow")
    step = runs.step_of("run")
    assert step is not None
    runs.start("beside", "run", "tool", "beside")
    token = attach(step.inside(get_current()))
    with genledger.observe("mine"):
        runs.start("inside", "run", "tool", "inside")
    detach(token)
    for run in ("inside", "beside", "run"):
        runs.end(run)
    spans = {span.name: span for span in telemetry.spans}
    for name, around in (("execute_tool inside", "mine"), ("execute_tool beside", "invoke_workflow flow")):
        assert spans[name].parent == spans[around].context


def test_a_tool_call_that_is_known_later_counts_once_by_what_it_is_called_with(telemetry: Telemetry) -> None:
    runs = Runs(lambda: None)
    runs.start("agent", None, "agent", "clerk")
    runs.start("tool", "agent", "tool", "lookup", signature="")
    agent, tool = runs.step_of("agent"), runs.step_of("tool")
    assert agent is not None
    assert tool is not None
    run = run_in(agent.inside(get_current()))
    assert run is not None
    assert (run.tools, run.tool_calls) == (1, [])
    tool.called("call-1", "lookup:Paris")
    assert run.tool_calls == ["lookup:Paris"]
    runs.end("tool")
    runs.end("agent")
    assert attributes_of(telemetry.spans[0])[A.GEN_AI_TOOL_CALL_ID] == "call-1"


def test_a_callback_of_ours_changes_nothing_of_the_method_that_it_comes_with(telemetry: Telemetry) -> None:
    def fail(*given: object) -> None:
        raise ValueError("ours")

    def method(value: int) -> int:
        return value + 1

    for wrapper in (first("a framework", fail), then("a framework", fail)):
        assert wrapper(method, None, (1,), {}) == 2
    assert len(telemetry.complaints.other) == 1
