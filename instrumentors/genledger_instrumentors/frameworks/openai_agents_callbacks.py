"""What begins and ends with the traces and spans of OpenAI's agents SDK."""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

from genledger.engine.outcome import ErrorEvent
from genledger.engine.steps import captures
from genledger.instrumentation.adapters.callbacks import Runs
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.openai_agents_spans import (
    MODEL_CALLS,
    NOTHING,
    read_content,
    read_error,
    read_exchange,
    read_name,
    read_step,
    type_of,
)

TITLES: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()
"""Name and group of traces that the SDK keeps nothing of."""

ERRORS: WeakKeyDictionary[Any, ErrorEvent] = WeakKeyDictionary()
"""What the SDK has noted on its open spans."""

HANDLED: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The exception that was being handled when a span began: it is not the span's."""


def id_of(span: Any) -> Any:
    """Return what identifies a span: itself, where the SDK gives it no id."""
    known = None if span is None else span.span_id
    return span if known == NOTHING else known


def current_run() -> Any:
    """Return what identifies the span that is current here; the trace, where that span is in no step."""
    scope = sys.modules["agents.tracing.scope"].Scope
    run = id_of(scope.get_current_span())
    return run if RUNS.step_of(run) is not None else scope.get_current_trace()


RUNS = Runs(current_run)


def note_title(made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Keep what a trace is called, which the SDK forgets while tracing is disabled."""
    if made.trace_id == NOTHING:
        TITLES[made] = (args[0] if args else kwargs["name"], kwargs.get("group_id"))


def start_trace(trace: Any, args: Any, kwargs: Any) -> None:
    """Begin a workflow. One that the SDK keeps nothing of begins with its first step: some only hide others."""
    note_handled(trace)
    if trace.trace_id != NOTHING:
        start_workflow(trace)
    elif RUNS.step_of(around := current_run()) is not None:
        RUNS.pass_through(trace, around)


def start_workflow(trace: Any) -> None:
    """Begin the step that a trace is."""
    name, group = TITLES.get(trace) or (trace.name, field(trace, "group_id"))
    attributes = {A.GEN_AI_CONVERSATION_ID: group}
    RUNS.start(trace, None, "workflow", str(name or "workflow"), attributes, session=group)


def start_span(span: Any, args: Any, kwargs: Any) -> None:
    """Begin the step that a span is."""
    note_handled(span)
    run = id_of(span)
    traced = run is not span
    parent = (span.parent_id if traced else None) or current_run()
    step = read_step(span.span_data, traced)
    if step is None:
        RUNS.pass_through(run, parent)
        return
    trace = sys.modules["agents.tracing.scope"].Scope.get_current_trace()
    if parent is trace is not None and RUNS.step_of(parent) is None:
        start_workflow(parent)
    RUNS.start(run, parent, step.kind, step.name, signature="")


def note_handled(span: Any) -> None:
    """Note which exception is being handled around a span."""
    handled = sys.exception()
    if handled is not None:
        HANDLED[span] = id(handled)


def note_error(span: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note an error that the SDK writes to a span."""
    ERRORS[span] = read_error(args[0] if args else kwargs["error"], sys.exception())


def end(span: Any, args: Any, kwargs: Any) -> None:
    """End the step that a span or trace is."""
    raised, noted = sys.exception(), ERRORS.pop(span, None)
    if raised is not None and HANDLED.get(span) == id(raised):
        raised = None
    data = getattr(span, "span_data", None)
    run = span if data is None else id_of(span)
    name = read_name(data)
    if name is not None and (step := RUNS.step_of(run)) is not None:
        step.span.update_name(name)
    elif type_of(data) in MODEL_CALLS and captures() is not None and (step := RUNS.step_of(run)) is not None:
        asked = A.GEN_AI_INPUT_MESSAGES in (field(step.span, "attributes") or {})
        content = read_exchange(data)
        step.write({name: value for name, value in content.items() if not asked or name == A.GEN_AI_OUTPUT_MESSAGES})
    RUNS.end(run, raised or noted, lambda: read_content(data))
