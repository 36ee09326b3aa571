from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from genledger.destinations.ledger_steps import StepProcessor
from genledger.engine.foreign_spans.places import MAX_AROUND
from genledger.engine.record import StepRecord

from ...instrumentors.telemetry import instrumented

CALL = {"gen_ai.operation.name": "chat", "genledger.outcome": "success"}


class KeepingSteps:
    """A destination that keeps the rows of steps."""

    def __init__(self, kept: list[StepRecord]) -> None:
        self.processor = StepProcessor(kept.append)

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing waits."""
        return True


@pytest.fixture
def kept() -> list[StepRecord]:
    return []


@pytest.fixture
def tracer(kept: list[StepRecord]) -> Iterator[Tracer]:
    with instrumented(destinations=[KeepingSteps(kept)]) as telemetry:
        yield telemetry.tracer_provider.get_tracer("test")


def agent(name: str, **more: Any) -> dict[str, Any]:
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": name, **more}


@pytest.mark.parametrize(
    ("span", "attributes", "step"),
    [
        ("invoke_agent helper", agent("helper"), ("agent", "helper")),
        ("running helper", agent("helper"), ("agent", "helper")),
        ("invoke_agent helper", {"gen_ai.operation.name": "invoke_agent"}, ("agent", "helper")),
        ("invoke_agent", {"gen_ai.operation.name": "invoke_agent"}, ("agent", "agent")),
        (
            "execute_tool look_up",
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "look_up"},
            ("tool", "look_up"),
        ),
        (
            "retrieval faq",
            {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "faq"},
            ("retrieval", "faq"),
        ),
        (
            "invoke_workflow draft",
            {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "draft"},
            ("workflow", "draft"),
        ),
        ("plan trip", {"gen_ai.operation.name": "plan"}, ("task", "plan trip")),
        ("tidy up", {"genledger.operation.kind": "task"}, ("task", "tidy up")),
    ],
)
def test_a_step_is_kept_with_its_kind_and_its_own_name(
    tracer: Tracer, kept: list[StepRecord], span: str, attributes: dict[str, Any], step: tuple[str, str]
) -> None:
    tracer.start_span(span, attributes=attributes).end()
    assert [(one.kind, one.name) for one in kept] == [step]


def test_a_step_is_kept_with_its_error_and_whom_it_was_for(tracer: Tracer, kept: list[StepRecord]) -> None:
    who = {"genledger.tenant.id": "acme", "genledger.feature": "copilot", "error.type": "KeyError"}
    with tracer.start_as_current_span("invoke_agent helper", attributes=agent("helper", **who)) as span:
        span.set_status(Status(StatusCode.ERROR))
    (step,) = kept
    assert (step.error_type, step.tenant, step.feature, step.parent_span_id) == ("KeyError", "acme", "copilot", None)


def test_neither_calls_nor_spans_around_or_inside_are_steps(tracer: Tracer, kept: list[StepRecord]) -> None:
    with tracer.start_as_current_span("GET /answer"), tracer.start_as_current_span("chat", attributes=CALL):
        tracer.start_span("POST").end()
    assert kept == []


def around(kept: list[StepRecord], call: Any) -> list[str]:
    """Return what is around a call by the rows alone."""
    rows = {step.span_id: step for step in kept}
    found, above = [], call.parent.span_id
    while above in rows:
        found.append(rows[above].name)
        above = rows[above].parent_span_id
    return found


def test_spans_between_a_call_and_its_step_keep_the_two_together(tracer: Tracer, kept: list[StepRecord]) -> None:
    with (
        tracer.start_as_current_span("GET /answer"),
        tracer.start_as_current_span("invoke_agent outer", attributes=agent("outer")),
        tracer.start_as_current_span("the application's"),
        tracer.start_as_current_span("invoke_agent inner", attributes=agent("inner")),
        tracer.start_as_current_span("the application's"),
        tracer.start_as_current_span("chat of a framework", attributes={"gen_ai.operation.name": "chat"}),
    ):
        call = tracer.start_span("chat", attributes=CALL)
        call.end()
        tracer.start_span("not around anything").end()
    assert around(kept, call) == ["", "", "inner", "", "outer"]
    assert len(kept) == 5


def test_a_stream_that_ends_after_the_span_around_it_stays_in_its_step(tracer: Tracer, kept: list[StepRecord]) -> None:
    with tracer.start_as_current_span("invoke_agent helper", attributes=agent("helper")):
        with tracer.start_as_current_span("the application's"):
            call = tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
        call.set_attributes(CALL)
        call.end()
    assert around(kept, call) == ["", "helper"]


def test_a_span_of_another_process_is_no_row_here(tracer: Tracer, kept: list[StepRecord]) -> None:
    remote = NonRecordingSpan(SpanContext(5, 6, is_remote=True, trace_flags=TraceFlags(1)))
    tracer.start_span("chat", set_span_in_context(remote, Context()), attributes=CALL).end()
    assert kept == []


def test_spans_that_never_end_are_forgotten(tracer: Tracer, kept: list[StepRecord]) -> None:
    with tracer.start_as_current_span("GET /"), tracer.start_as_current_span("the application's"):
        tracer.start_span("chat", attributes=CALL).end()
        for number in range(MAX_AROUND):
            lost = NonRecordingSpan(SpanContext(5, number + 1, is_remote=False, trace_flags=TraceFlags(1)))
            tracer.start_span("chat", set_span_in_context(lost, Context()), attributes=CALL).end()
    assert kept == []
