"""Where foreign spans stand: the run and the total that are in force inside each, and the spans that are not shown.

A native span is made current by its library, so that what runs inside finds its parent. What counts in the run and
what is shown as the parent is found here, by the id of the span that is current: nothing is attached.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from opentelemetry.context import Context, set_value
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, get_current_span, set_span_in_context

from genledger.context.attribution import with_session
from genledger.context.totals import RUN_KEY, SPENDS, AgentRun, RunningTotal
from genledger_semconv import attributes as A

MAX_HIDDEN = 10_000
"""Hidden spans that are remembered for children that begin late."""

MAX_AROUND = 16_384
"""Open spans that are remembered for having a step or call inside; of more, the oldest is forgotten."""


class SpansAround:
    """Open spans of others that have a step or call inside, bounded.

    The application's own spans, and those of a framework, may stand between a call or step and the step around it.
    """

    def __init__(self) -> None:
        self._ids: dict[int, None] = {}

    def note(self, parent: SpanContext | None) -> None:
        """Note the span around a step or call; nothing for one of another process."""
        if parent is None or parent.is_remote:
            return
        self._ids[parent.span_id] = None
        if len(self._ids) > MAX_AROUND:
            self._ids.pop(next(iter(self._ids)), None)

    def forget(self, span_id: int) -> bool:
        """Return whether a span that has ended had one inside, and forget it."""
        return self._ids.pop(span_id, 0) is None


AROUND = SpansAround()
"""Of the spans that are open in this process."""

_runs: dict[int, AgentRun | None] = {}
_steps: dict[int, int] = {}
_hidden: OrderedDict[int, SpanContext | None] = OrderedDict()
_around_calls: set[int] = set()


def begin(span_id: int, run: AgentRun | None, spend: RunningTotal | None) -> None:
    """Note an open span of a framework, or inside of one, and the run and the total that calls in it count in."""
    _runs[span_id] = run
    if spend is not None:
        SPENDS[span_id] = spend


def belong(span_id: int, step: int) -> None:
    """Note the step that an open call of ours is made in, where spans that are no steps stand between."""
    _steps[span_id] = step


def end(span_id: int) -> None:
    """Forget a span that has ended."""
    if _runs:
        _runs.pop(span_id, None)
        SPENDS.pop(span_id, None)
    if _steps:
        _steps.pop(span_id, None)
    _around_calls.discard(span_id)


def note_around_call(span_id: int) -> None:
    """Note an open span of another instrumentation, around a call of a client that Genledger records as well."""
    _around_calls.add(span_id)


def is_around_call(span: Span) -> bool:
    """Return whether a span is one that was noted so, and is open."""
    return span.get_span_context().span_id in _around_calls


def step_around(span: Span, outer: Context) -> int | None:
    """Return the id of the step that a call is made in, or else of the span around it; `None` outside of any.

    Args:
        span: The call's.
        outer: The context that it belongs in: a span that is not sampled does not know its parent.
    """
    around = _steps.get(span.get_span_context().span_id)
    return get_current_span(outer).get_span_context().span_id or None if around is None else around


def hide(span: ReadableSpan) -> None:
    """Show what runs in a span at the nearest span around it that is shown."""
    _hidden[span.context.span_id] = parent_of(span)
    if len(_hidden) > MAX_HIDDEN:
        _hidden.popitem(last=False)


def show(span: ReadableSpan) -> None:
    """Show a span after all that was hidden."""
    _hidden.pop(span.context.span_id, None)


def within(context: Context) -> Context:
    """Return `context` with the run, the session and the parent that a call or a step has which begins in it."""
    span = get_current_span(context)
    span_id = span.get_span_context().span_id
    shown = _hidden.get(span_id)
    if shown is not None:
        context = set_span_in_context(NonRecordingSpan(shown), context)
    if span_id not in _runs:
        return context
    run = _runs.get(span_id)
    if run is not None:
        context = set_value(RUN_KEY, run, context)
    return with_session((getattr(span, "attributes", None) or {}).get(A.GEN_AI_CONVERSATION_ID), context)


def any_hidden() -> bool:
    """Return whether there are spans that our destinations do not show."""
    return bool(_hidden)


def shown_id(span: Any) -> int:
    """Return the id of a span if it is shown, else of the nearest around it that is; 0 where there is none."""
    span_id: int = span.get_span_context().span_id
    shown = _hidden.get(span_id)
    return span_id if span_id not in _hidden else 0 if shown is None else shown.span_id


def is_hidden(span: ReadableSpan) -> bool:
    """Return whether our destinations do not show a span."""
    return span.context.span_id in _hidden


def parent_of(span: ReadableSpan) -> SpanContext | None:
    """Return the nearest span around a span that is shown."""
    parent = span.parent
    return parent if parent is None else _hidden.get(parent.span_id, parent)
