"""Spans of other instrumentations: add attribution, and price calls that are not priced yet."""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from genledger.context.attribution import NOBODY, current, current_spend
from genledger.context.totals import run_in
from genledger.engine.call import CALL_KEY, Call
from genledger.engine.foreign_spans import places
from genledger.engine.foreign_spans.native_scopes import Named, NativeScope, Neighbour, named, neighbour_of, row_of
from genledger.engine.foreign_spans.native_steps import adopt, adoption, failure_of, is_step, name_of, tool_of
from genledger.engine.foreign_spans.places import within
from genledger.engine.foreign_spans.reader import priced_attributes, record_of
from genledger.engine.foreign_spans.repair import COUNTED, aggregates, repaired
from genledger.engine.foreign_spans.wrappers import note_wrapper
from genledger.engine.recorder import Recorder, active
from genledger.engine.steps import Step, total_attributes
from genledger.engine.suppression import recordable
from genledger.shared import internal_errors
from genledger.shared.private_attributes import ENDING_SPANS, EndingSpanHook, replace_attributes, replace_name
from genledger_semconv import attributes as A

MAX_OPEN = 10_000
"""Foreign spans remembered while they are open; the oldest is forgotten first and then not priced twice."""


_OPERATIONS = frozenset({A.GEN_AI_OPERATION_NAME, A.GENLEDGER_OPERATION_KIND})
"""What a step or call has."""

_latest_ns: ContextVar[int | None] = ContextVar("genledger-latest-call", default=None)
"""When the call of ours began that was made last in this thread or task."""

_COST = "genledger.cost."
_HIDDEN = Named("hidden", "")


def _current_id() -> int:
    """Return the id of the span that is current; 0 where none is."""
    return get_current_span().get_span_context().span_id


def _is_copy(span: Span, scope: str) -> bool:
    """Return whether a neighbour's span, which has just started, is of a call of ours that has begun before it.

    Some are made when a call has ended, and dated back to before it began: there was no span around the call.
    """
    latest, started = _latest_ns.get(), span.start_time
    return named(scope, span.name) is not None or (latest is not None and started is not None and started <= latest)


class _Open:
    __slots__ = (
        *("agent", "around", "beside", "covered", "inside_of", "native", "parent"),
        *("provider", "row", "spend", "step", "tool"),
    )

    def __init__(self, parent: int | None, covered: bool, spend: Any) -> None:
        self.parent = parent
        self.around = _current_id()  # the same, as a rule: it may have been given a parent elsewhere
        self.covered = covered
        self.spend = spend
        self.provider: str | None = None
        self.row: NativeScope | None = None
        self.beside: Neighbour | None = None
        self.native: Named | None = None
        self.step: Step | None = None
        self.inside_of: int | None = None  # the step that is nearest, itself included
        self.tool: str | None = None
        self.agent: str | None = None


class ForeignSpanProcessor(EndingSpanHook, SpanProcessor):
    """Adds what we know to every span of a provider.

    One provider call is priced once: a span that runs inside one of our calls, or that has had a priced call
    inside it, is structure, and keeps no usage that a backend would add up. A span of a library that records its own
    work is a step like ours, if the table of native scopes has it as one. There is no lock: single operations on
    a dictionary are atomic, and every call of every thread comes through here.
    """

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._open: OrderedDict[int, _Open] = OrderedDict()
        _ = ENDING_SPANS.works  # logged now if it does not

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Give the span its attribution, and remember where it stands."""
        if active() is None:
            return
        try:
            scope = span.instrumentation_scope
            if scope is not None and scope.name == self._scope:
                if self._open:
                    self._begin_ours(span)
                if span.kind is SpanKind.CLIENT:
                    _latest_ns.set(span.start_time)
                return
            parent = span.parent.span_id if span.parent is not None else None
            context = get_current() if parent_context is None else parent_context
            note_wrapper(span, context)
            attribution = current(context)
            if attribution is not NOBODY:
                span.set_attributes(attribution.attributes)
            call = context.get(CALL_KEY)
            inside = isinstance(call, Call) and not call.settled
            found = self._open[span.context.span_id] = _Open(parent, inside, current_spend(context))
            if len(self._open) > MAX_OPEN:
                places.end(self._open.popitem(last=False)[0])
            if (span.attributes or {}).keys() & _OPERATIONS:
                places.AROUND.note(span.parent)
            if scope is not None:
                self._place(span, scope.name, within(context), found)
        except Exception as error:
            internal_errors.report("enriching a span", error)

    def _begin_ours(self, span: Span) -> None:
        # Now, not when ours ends: theirs around a stream may end at its last event, before the stream does.
        parent = span.parent.span_id if span.parent is not None else None
        provider = (span.attributes or {}).get(A.GEN_AI_PROVIDER_NAME)
        self._cover(parent, provider)
        # Ours may stand elsewhere: a hidden one is nobody's parent, and a framework may name a step of ours.
        self._cover(_current_id(), provider)
        outer = self._open.get(parent) if parent is not None else None
        if outer is not None:
            places.AROUND.note(span.parent)
            if outer.inside_of is not None:
                places.belong(span.context.span_id, outer.inside_of)

    def _place(self, span: Span, scope: str, context: Context, found: _Open) -> None:
        """Say what a span is to the calls and steps inside."""
        found.row = row_of(scope)
        found.beside = neighbour_of(scope)
        if found.beside is not None:
            found.native = _HIDDEN
            found.covered = found.covered or found.beside.spans == "copies" or _is_copy(span, scope)
            if found.beside.spans == "calls" and recordable(context) is context:
                places.note_around_call(span.context.span_id)
        elif found.row is not None:
            found.native = named(scope, span.name)
        run, spend = run_in(context), current_spend(context)
        outer = self._open.get(found.parent) if found.parent is not None else None
        found.inside_of = outer.inside_of if outer is not None else found.parent
        if found.native is not None:
            if found.native.role == "hidden":
                places.hide(span)
            elif found.row is not None:
                found.inside_of = span.context.span_id
                # In one process, a server's span has its parent from what the client sent, and not as an object.
                around = outer.tool if outer is not None else tool_of(get_current_span(context))
                found.step = adopt(span, found.native, found.row, context, around)
                found.tool = tool_of(span)
                if found.step is not None:
                    run, spend = found.step.run, found.step.spend
        found.agent = run.agent if run is not None else None
        if run is not None or spend is not None or found.row is not None:
            places.begin(span.context.span_id, run, spend)

    def on_ending(self, span: Span) -> None:
        """Price the span, and write the cost to it."""
        if self._open and span.context.span_id in self._open and ENDING_SPANS.works:
            self._settle(span, written=True)

    def on_end(self, span: ReadableSpan) -> None:
        """Price a span that was not announced as ending: it cannot show its cost, but the cost counts."""
        if span.context.span_id in self._open:
            self._settle(span, written=False)
        else:
            places.end(span.context.span_id)

    def _settle(self, span: Any, *, written: bool) -> None:
        recorder = active()
        span_id = span.context.span_id
        try:
            found = self._open.pop(span_id, None)
            places.end(span_id)
            if recorder is None or found is None:
                return
            if found.row is not None:
                self._end_native(span, found, found.row, written)
            if not found.covered and self._price(recorder, span, found, written):
                self._cover(found.parent)
                self._cover(found.around)
                places.show(span)
            elif found.covered or (found.beside is not None and found.beside.spans == "steps"):
                if written:
                    replace_attributes(span, COUNTED, aggregates(span) if is_step(span) else {})
            elif found.beside is not None:
                places.show(span)
        except Exception as error:
            internal_errors.report("pricing a span of another instrumentation", error)

    def _end_native(self, span: Any, found: _Open, row: NativeScope, written: bool) -> None:
        native = _HIDDEN if found.beside is not None else named(row.scope, span.name) or found.native
        if written:
            changes = repaired(span.attributes, row, found.provider)
            if native is not None and native.role != "hidden":
                name, adopted = adoption(native, {**span.attributes, **changes})
                if name is not None:
                    replace_name(span, name)
                changes.update(adopted)
            replace_attributes(span, (), changes)
            if native is not None and found.beside is None:
                replace_attributes(span, COUNTED, aggregates(span))
            if found.step is not None and (spent := found.step.spend.read()).calls:
                replace_attributes(span, (), total_attributes(spent))
        if found.step is not None:
            found.step.name = name_of(found.step.kind, span.attributes) or found.step.name
            found.step.count(failure_of(span))

    def _cover(self, parent: int | None, provider: Any = None) -> None:
        while parent is not None:
            outer = self._open.get(parent)
            if outer is None or outer.covered:
                return
            outer.covered = True
            outer.provider = provider
            if outer.around != outer.parent:
                self._cover(outer.around, provider)
            parent = outer.parent

    def _price(self, recorder: Recorder, span: Any, found: _Open, written: bool) -> bool:
        entry = record_of(span)
        if entry is None or (entry.cost is None and entry.usage is None):
            return False
        if written:
            # A cost that was not believed goes.
            replace_attributes(span, _COST, priced_attributes(entry))
        family = "inference" if entry.operation != "embeddings" else "operation"
        recorder.book(entry, family, None, found.spend, span.get_span_context(), found.agent)
        return True

    def shutdown(self) -> None:
        """Forget the open spans."""
        self._open.clear()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here."""
        return True
