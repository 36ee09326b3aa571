"""Steps: the structure around calls. A step is a span that is never priced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace
from opentelemetry.context import Context, set_value
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context

from genledger.context.attribution import (
    ATTRIBUTION_KEY,
    SPEND_KEY,
    Attribution,
    claim_trace,
    completed,
    current,
    current_spend,
)
from genledger.context.totals import RUN_KEY, AgentRun, RunningTotal, Spend, run_in
from genledger.engine.carried_refusals import without_carrier
from genledger.engine.content.redaction import stage
from genledger.engine.operation import Content, span_name
from genledger.engine.outcome import error_type
from genledger.engine.parents import parent_context
from genledger.engine.record import StepRecord
from genledger.engine.recorder import SCOPE, Recorder, active
from genledger.shared import internal_errors
from genledger_semconv import SCHEMA_URL
from genledger_semconv import attributes as A

if TYPE_CHECKING:
    from genledger.engine.content.capture import Capture

Kind = Literal["agent", "tool", "retrieval", "workflow", "task"]
"""What a step does: the conventions' operations, and `task` for what they have no operation for."""

OPERATIONS: Mapping[Kind, tuple[str, str]] = {
    "agent": ("invoke_agent", A.GEN_AI_AGENT_NAME),
    "tool": ("execute_tool", A.GEN_AI_TOOL_NAME),
    "retrieval": ("retrieval", A.GEN_AI_DATA_SOURCE_ID),
    "workflow": ("invoke_workflow", A.GEN_AI_WORKFLOW_NAME),
    "task": ("", ""),
}
"""The operation of each kind, and the attribute that has its name."""


def captures() -> Capture | None:
    """Return what writes content to spans; `None` where content is not captured there."""
    recorder = active()
    capture = recorder.capture if recorder is not None else None
    return capture if capture is not None and capture.spans else None


def total_attributes(spent: Spend) -> dict[str, int | float]:
    """Return what a step's span shows of the calls inside: in names that no backend adds up with the calls' own."""
    attributes: dict[str, int | float] = {A.GENLEDGER_TOTAL_CALLS: spent.calls, A.GENLEDGER_TOTAL_TOKENS: spent.tokens}
    if spent.unpriced:
        attributes[A.GENLEDGER_TOTAL_UNPRICED] = spent.unpriced
    if spent.calls > spent.unpriced:
        attributes[A.GENLEDGER_TOTAL_COST] = round(spent.usd, 12)  # beyond, a sum of doubles has digits of its own
    return attributes


class Step:
    """One step that has begun.

    Attributes:
        attribution: Of the step: what is in it has its user and session where it has none of its own.
        kind: What it does.
        name: Of the agent, tool, data source, workflow or task.
        span: The step's span.
        outer: The context that the step belongs in, with its attribution.
        around: The span that was current where it began.
        spend: Running total of the calls inside.
        started: When it began, in seconds of `time.perf_counter`.
        started_ns: Likewise, in nanoseconds since 1970.
        run: The agent run that it is in, its own included; `None` outside of any.
    """

    __slots__ = (
        *("_inside", "_within", "around", "attribution", "ended"),
        *("kind", "name", "outer", "run", "span", "spend", "started", "started_ns"),
    )

    def __init__(
        self,
        kind: Kind,
        name: str,
        outer: Context,
        span: Span,
        signature: str | None = None,
        around: Span | None = None,
        started_ns: int | None = None,
        attribution: Attribution | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.started = time.perf_counter()
        self.started_ns = time.time_ns() if started_ns is None else started_ns
        self.outer = outer
        self.around = get_current_span() if around is None else around
        self.attribution = current(outer) if attribution is None else attribution
        self._inside: tuple[Context | None, Context] = (None, outer)
        self.span = span
        self.spend = RunningTotal(current_spend(outer))
        self.ended = False
        self.run = self._within = run_in(outer)
        if kind in ("agent", "workflow"):
            span_id = f"{span.get_span_context().span_id:016x}"
            around_it = self._within
            agent = name if kind == "agent" else around_it.agent if around_it is not None else None
            self.run = AgentRun(span_id, 0 if around_it is None else around_it.depth + 1, agent=agent)
        elif kind == "tool" and self.run is not None:
            self.run.tools += 1
            if signature != "":
                self.run.tool_calls.append(signature or name)

    def inside(self, context: Context) -> Context:
        """Return `context` with this step as the one that it is in."""
        before, inside = self._inside
        if context is not before:
            values: dict[str, Any] = {**set_span_in_context(self.span, context), SPEND_KEY: self.spend}
            if self.run is not None:
                values[RUN_KEY] = self.run
            here, own = current(context), self.attribution
            if here is not own:
                values[ATTRIBUTION_KEY] = completed(here, user=own.user, session=own.session)
            inside = claim_trace(self.span.get_span_context(), Context(values))
            self._inside = (context, inside)
        return inside

    def within(self, context: Context) -> Context:
        """Return a context that is in this step already, maybe in something begun there; else as `inside`."""
        before, inside = self._inside
        if context is before:
            return inside
        spend = current_spend(context)
        return context if spend is not None and spend.is_in(self.spend) else self.inside(context)

    def write(self, content: Content | Callable[[], Content]) -> None:
        """Put content, or what a function returns as such, on the span where content is captured: redacted, bounded."""
        try:
            capture = captures()
            if capture is None:
                return
            attributes: dict[str, Any] = {}
            capture.write(content() if callable(content) else content, attributes)
            self.span.set_attributes(attributes)
        except Exception as error:
            internal_errors.report("capturing the content of a step", error)

    def called(self, call_id: str, signature: str) -> None:
        """Note the id and the signature of a tool call, where they were not known when it began."""
        self.span.set_attribute(A.GEN_AI_TOOL_CALL_ID, call_id)
        if self._within is not None:
            self._within.tool_calls.append(signature)

    def end(self, error: BaseException | None = None) -> None:
        """End the span and count the step. Only the first time does anything; never raises."""
        if self.ended:
            return
        self.ended = True
        try:
            self._settle(error)
        except Exception as fault:
            internal_errors.report("ending a step", fault)
        try:
            self.span.end()
        except Exception as fault:
            internal_errors.report("ending the span", fault)

    def _settle(self, error: BaseException | None) -> None:
        if not self.spend.is_empty:
            self.span.set_attributes(total_attributes(self.spend.read()))
        failure = None if error is None or isinstance(error, GeneratorExit) else self._fail(without_carrier(error))
        recorder = active()
        if recorder is not None:
            self._count(recorder, failure)
            if recorder.step_sinks:
                self._record(recorder, failure)

    def _fail(self, error: BaseException) -> str:
        failure = error_type(error)
        self.span.set_status(StatusCode.ERROR, stage().description(error))
        self.span.set_attribute(A.ERROR_TYPE, failure)
        return failure

    def _record(self, recorder: Recorder, failure: str | None) -> None:
        context = self.span.get_span_context()
        # A span that is not sampled does not know its parent.
        parent = getattr(self.span, "parent", None) or get_current_span(self.outer).get_span_context()
        row = StepRecord(
            context.trace_id,
            context.span_id,
            parent.span_id or None,
            self.kind,
            self.name,
            self.started_ns,
            time.perf_counter() - self.started,
            stage().name(failure) if failure is not None else None,
            self.attribution.tenant,
            self.attribution.feature,
        )
        for sink in recorder.step_sinks:
            sink(row)

    def count(self, failure: str | None) -> None:
        """Count the step in the metrics, with its `error.type` when it failed."""
        recorder = active()
        if recorder is not None:
            self._count(recorder, failure)

    def _count(self, recorder: Recorder, failure: str | None) -> None:
        if recorder.metrics is not None and recorder.metrics.steps.measures(self.kind):
            run = self.run if self.run is not None and self.run is not self._within else AgentRun("", 0)
            seconds = time.perf_counter() - self.started
            context = set_span_in_context(self.span, self.outer)
            recorder.metrics.steps.record(self.kind, self.name, seconds, failure, run.inferences, run.tools, context)


def start_step(
    kind: Kind,
    name: str,
    *,
    parent: Context | None = None,
    attributes: Mapping[str, Any] | None = None,
    content: Content | Callable[[], Content] | None = None,
    signature: str | None = None,
    user: object = None,
    session: object = None,
    around: Span | None = None,
    started_ns: int | None = None,
) -> Step:
    """Begin a step. It becomes nobody's current span: give `step.inside(context)` to what runs in it.

    Args:
        kind: What the step does.
        name: Of the agent, tool, data source, workflow or task.
        parent: The context that it belongs in; by default that of a framework's running step, or the current one.
        attributes: Further attributes of its span; those that are empty are left out.
        content: What it is given, or a function that returns it; written where content is captured.
        signature: Of a tool call, for budgets that count repeats; empty where `Step.called` gives it later.
        user: Who it is for, as the framework knows, where the application's attribution has nobody.
        session: Which conversation or visit it belongs to, likewise.
        around: The span that was current where it began; by default the one that is.
        started_ns: When it began, in nanoseconds since 1970; now by default.
    """
    outer = parent_context() if parent is None else parent
    attribution = current(outer)
    if user or session:
        attribution = completed(attribution, user=user, session=session)
        outer = set_value(ATTRIBUTION_KEY, attribution, outer)
    operation, naming = OPERATIONS[kind]
    found: dict[str, Any] = dict(attribution.attributes)
    if operation:
        found[A.GEN_AI_OPERATION_NAME] = operation
        found[naming] = name
    else:
        found[A.GENLEDGER_OPERATION_KIND] = kind
    if attributes:
        found.update((key, value) for key, value in attributes.items() if value)
    recorder = active()
    tracer = recorder.tracer if recorder is not None else trace.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    now = time.time_ns()
    span = tracer.start_span(
        span_name(operation, name),
        outer,
        SpanKind.CLIENT if kind == "retrieval" else SpanKind.INTERNAL,
        found,
        start_time=now if started_ns is None else started_ns,
        record_exception=False,
        set_status_on_exception=False,
    )
    try:
        step = Step(kind, name, outer, span, signature, around, now if started_ns is None else started_ns, attribution)
        if started_ns is not None:
            step.started -= (now - started_ns) / 1e9
        if content is not None:
            step.write(content)
        return step
    except Exception:
        span.end()
        raise
