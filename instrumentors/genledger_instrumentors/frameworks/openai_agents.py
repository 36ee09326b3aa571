"""OpenAI's agents SDK, by the traces and spans that it makes of every run, whether it keeps them or not.

Nothing is added to its processors: that would make its exporter, and the application may replace them.

https://openai.github.io/openai-agents-python/tracing/
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

from genledger.engine.carried_refusals import refusal_in
from genledger.engine.outcome import ErrorEvent
from genledger.engine.steps import captures, tool_signature
from genledger.instrumentation.adapters.callbacks import Runs, first, then
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.openai_agents_spans import (
    NOTHING,
    read_content,
    read_error,
    read_exchange,
    read_name,
    read_step,
)

MODEL_CALLS = ("generation", "response")
TITLES: WeakKeyDictionary[Any, tuple[Any, Any]] = WeakKeyDictionary()
"""Name and group of traces that the SDK keeps nothing of."""

ERRORS: WeakKeyDictionary[Any, ErrorEvent] = WeakKeyDictionary()
"""What the SDK has noted on its open spans."""

HANDLED: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The exception that was being handled when a span began: it is not the span's."""


def id_of(span: Any) -> Any:
    """Return what identifies a span: itself, where the SDK gives it no id."""
    return None if span is None else span if span.span_id == NOTHING else span.span_id


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
    traced = span.span_id != NOTHING
    parent = (span.parent_id if traced else None) or current_run()
    step = read_step(span.span_data, traced)
    if step is None:
        RUNS.pass_through(id_of(span), parent)
        return
    trace = sys.modules["agents.tracing.scope"].Scope.get_current_trace()
    if parent is trace is not None and RUNS.step_of(parent) is None:
        start_workflow(parent)
    RUNS.start(id_of(span), parent, step.kind, step.name, signature="")


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
    if HANDLED.pop(span, None) == id(raised):
        raised = None
    data = field(span, "span_data")
    run = id_of(span) if data is not None else span
    name, step = read_name(data), RUNS.step_of(run)
    if step is not None and name is not None:
        step.span.update_name(name)
    elif step is not None and field(data, "type") in MODEL_CALLS and captures() is not None:
        asked = A.GEN_AI_INPUT_MESSAGES in (field(step.span, "attributes") or {})
        content = read_exchange(data)
        step.write({name: value for name, value in content.items() if not asked or name == A.GEN_AI_OUTPUT_MESSAGES})
    RUNS.end(run, raised or noted, lambda: read_content(data))


def note_call(made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note the id and the arguments of a tool's call on its step."""
    span = sys.modules["agents.tracing.scope"].Scope.get_current_span()
    step = RUNS.step_of(id_of(span)) if field(field(span, "span_data"), "type") == "function" else None
    if step is not None:
        step.called(made.tool_call_id, tool_signature(made.tool_name, made.tool_arguments))


async def keep_refusal(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let a budget's refusal in a tool end the run, instead of telling the model about it."""
    return None if refusal_in(kwargs.get("error")) is not None else await wrapped(*args, **kwargs)


async def do_not_retry(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do not ask a policy whether to repeat a call that a budget has refused."""
    if refusal_in(kwargs.get("error")) is not None:
        return sys.modules["agents.retry"].RetryDecision(retry=False)
    return await wrapped(*args, **kwargs)


class OpenAIAgentsInstrumentor(Instrumentor):
    """Records the structure of the runs of OpenAI's agents SDK."""

    library = "openai-agents"
    distribution = "openai-agents"
    supports = "openai-agents >= 0.24, < 1"

    def patches(self) -> Patches:
        """Return the starts and ends of spans, and what would carry on after a budget's refusal."""
        found: Patches = [RUNS.hook("agents.tracing.scope", lambda module: module)]
        for module, start, kinds in (
            ("agents.tracing.spans", start_span, ("SpanImpl", "NoOpSpan")),
            ("agents.tracing.traces", start_trace, ("TraceImpl", "NoOpTrace", "ReattachedTrace")),
        ):
            for kind in kinds:
                found.append(Patch(module, f"{kind}.start", first(self.library, start)))
                found.append(Patch(module, f"{kind}.finish", first(self.library, end)))
        for kind in ("SpanImpl", "NoOpSpan"):
            found.append(Patch("agents.tracing.spans", f"{kind}.set_error", first(self.library, note_error)))
        return [
            *found,
            Patch("agents.tracing.provider", "DefaultTraceProvider.create_trace", then(self.library, note_title)),
            Patch("agents.tool_context", "ToolContext.from_agent_context", then(self.library, note_call)),
            Patch("agents.tool", "maybe_invoke_function_tool_failure_error_function", keep_refusal),
            Patch("agents.run_internal.model_retry", "_evaluate_retry", do_not_retry),
        ]
