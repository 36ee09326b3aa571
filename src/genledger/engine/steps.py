"""Steps: the structure around calls. A step is a span that is never priced."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry import trace
from opentelemetry.context import Context, set_value
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span, set_span_in_context

from genledger.context.attribution import (
    ATTRIBUTION_KEY,
    SPEND_KEY,
    claim_trace,
    completed,
    current,
    current_spend,
)
from genledger.context.totals import RUN_KEY, AgentRun, RunningTotal, run_in
from genledger.engine.content.redaction import stage
from genledger.engine.operation import Content, span_name
from genledger.engine.outcome import error_type
from genledger.engine.parents import parent_context
from genledger.engine.recorder import SCOPE, active
from genledger.shared import internal_errors
from genledger.shared.text import bounded
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


def tool_signature(name: str, arguments: object) -> str:
    """Return what two calls of a tool have in common if they repeat each other; the arguments cannot be read in it."""
    return f"{bounded(name)}:{zlib.crc32(repr(arguments).encode()):08x}"


class Step:
    """One step that has begun.

    Attributes:
        attribution: Of the step: what is in it has its user and session where it has none of its own.
        span: The step's span.
        outer: The context that the step belongs in, with its attribution.
        around: The span that was current where it began.
        spend: Running total of the calls inside.
        started: When it began, in seconds of `time.perf_counter`.
    """

    __slots__ = (
        *("_inside", "_kind", "_name", "_run", "_within"),
        *("around", "attribution", "ended", "outer", "span", "spend", "started"),
    )

    def __init__(self, kind: Kind, name: str, outer: Context, span: Span, around: Span) -> None:
        self._kind = kind
        self._name = name
        self.started = time.perf_counter()
        self.outer = outer
        self.around = around
        self.attribution = current(outer)
        self._inside: tuple[Context | None, Context] = (None, outer)
        self.span = span
        self.spend = RunningTotal(current_spend(outer))
        self.ended = False
        self._run = self._within = run_in(outer)
        if kind in ("agent", "workflow"):
            span_id = f"{span.get_span_context().span_id:016x}"
            self._run = AgentRun(span_id, 0 if self._within is None else self._within.depth + 1)

    def inside(self, context: Context) -> Context:
        """Return `context` with this step as the one that it is in."""
        before, inside = self._inside
        if context is not before:
            values: dict[str, Any] = {**set_span_in_context(self.span, context), SPEND_KEY: self.spend}
            if self._run is not None:
                values[RUN_KEY] = self._run
            here, own = current(context), self.attribution
            if here is not own:
                values[ATTRIBUTION_KEY] = completed(here, user=own.user, session=own.session)
            inside = claim_trace(self.span.get_span_context(), Context(values))
            self._inside = (context, inside)
        return inside

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

    def end(self, error: BaseException | None = None) -> None:
        """End the span and count the step. Only the first time does anything; never raises."""
        if self.ended:
            return
        self.ended = True
        try:
            self._count(error)
        except Exception as fault:
            internal_errors.report("ending a step", fault)
        try:
            self.span.end()
        except Exception as fault:
            internal_errors.report("ending the span", fault)

    def _count(self, error: BaseException | None) -> None:
        recorder = active()
        failure: str | None = None
        if error is not None and not isinstance(error, GeneratorExit):
            failure = error_type(error)
            self.span.set_status(StatusCode.ERROR, stage().description(error))
            self.span.set_attribute(A.ERROR_TYPE, failure)
        if recorder is not None and recorder.metrics is not None and recorder.metrics.steps.measures(self._kind):
            run = self._run if self._run is not None and self._run is not self._within else AgentRun("", 0)
            seconds = time.perf_counter() - self.started
            context = set_span_in_context(self.span, self.outer)
            recorder.metrics.steps.record(self._kind, self._name, seconds, failure, run.inferences, run.tools, context)


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
        attributes: Further attributes of its span.
        content: What it is given, or a function that returns it; written where content is captured.
        signature: Of a tool call, for budgets that count repeats.
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
        found.update(attributes)
    recorder = active()
    tracer = recorder.tracer if recorder is not None else trace.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    span = tracer.start_span(
        span_name(operation, name),
        outer,
        SpanKind.CLIENT if kind == "retrieval" else SpanKind.INTERNAL,
        found,
        start_time=started_ns,
        record_exception=False,
        set_status_on_exception=False,
    )
    try:
        step = Step(kind, name, outer, span, get_current_span() if around is None else around)
        if started_ns is not None:
            step.started -= (time.time_ns() - started_ns) / 1e9
        run = run_in(outer)
        if kind == "tool" and run is not None:
            run.tool_calls.append(signature or name)
            run.tools += 1
        if content is not None:
            step.write(content)
        return step
    except Exception:
        span.end()
        raise
