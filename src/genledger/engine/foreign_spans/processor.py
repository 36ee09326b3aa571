"""Spans of other instrumentations: add attribution, and price calls that are not priced yet."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from genledger.context.attribution import NOBODY, current, current_spend
from genledger.engine.call import CALL_KEY, Call
from genledger.engine.foreign_spans.reader import priced_attributes, record_of
from genledger.engine.foreign_spans.wrappers import note_wrapper
from genledger.engine.recorder import Recorder, active
from genledger.pricing.readers.attributes import LANGFUSE_PRICING, USAGE_PREFIXES
from genledger.shared import internal_errors
from genledger.shared.private_attributes import ENDING_SPANS, EndingSpanHook, replace_attributes

MAX_OPEN = 10_000
"""Foreign spans remembered while they are open; the oldest is forgotten first and then not priced twice."""


_COST = "genledger.cost."

doubles: set[str] = set()
"""Scopes of spans that stand for calls of ours, but begin when these have ended: a client's callbacks make them."""


class _Open:
    __slots__ = ("covered", "parent", "spend")

    def __init__(self, parent: int | None, covered: bool, spend: Any) -> None:
        self.parent = parent
        self.covered = covered
        self.spend = spend


class ForeignSpanProcessor(EndingSpanHook, SpanProcessor):
    """Adds what we know to every span of a provider.

    One provider call is priced once: a span that runs inside one of our calls, or that has had a priced call
    inside it, is structure, and keeps no usage that a backend would add up. There is no lock: single operations on
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
            context = get_current() if parent_context is None else parent_context
            scope = span.instrumentation_scope
            ours = scope is not None and scope.name == self._scope
            parent = span.parent.span_id if span.parent is not None else None
            if ours:
                # Now, not when ours ends: theirs around a stream may end at its last event, before the stream does.
                if parent in self._open:
                    self._cover(parent)
                return
            note_wrapper(span, context)
            attribution = current(context)
            if attribution is not NOBODY:
                span.set_attributes(attribution.attributes)
            call = context.get(CALL_KEY)
            double = scope is not None and scope.name in doubles
            inside = double or (isinstance(call, Call) and not call.settled)
            self._open[span.get_span_context().span_id] = _Open(parent, inside, current_spend(context))
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        except Exception as error:
            internal_errors.report("enriching a span", error)

    def on_ending(self, span: Span) -> None:
        """Price the span, and write the cost to it."""
        if span.context.span_id in self._open and ENDING_SPANS.works:
            self._settle(span, written=True)

    def on_end(self, span: ReadableSpan) -> None:
        """Price a span that was not announced as ending: it cannot show its cost, but the cost counts."""
        if span.context.span_id in self._open:
            self._settle(span, written=False)

    def _settle(self, span: Any, *, written: bool) -> None:
        recorder = active()
        try:
            found = self._open.pop(span.get_span_context().span_id, None)
            if recorder is None or found is None:
                return
            if found.covered:
                if written:
                    replace_attributes(span, (*USAGE_PREFIXES, *LANGFUSE_PRICING, _COST), {})
            elif self._price(recorder, span, found, written):
                self._cover(found.parent)
        except Exception as error:
            internal_errors.report("pricing a span of another instrumentation", error)

    def _cover(self, parent: int | None) -> None:
        while parent is not None:
            outer = self._open.get(parent)
            if outer is None or outer.covered:
                return
            outer.covered = True
            parent = outer.parent

    def _price(self, recorder: Recorder, span: Any, found: _Open, written: bool) -> bool:
        entry = record_of(span)
        if entry is None or (entry.cost is None and entry.usage is None):
            return False
        if written:
            # A cost that was not believed goes.
            replace_attributes(span, _COST, priced_attributes(entry))
        family = "inference" if entry.operation != "embeddings" else "operation"
        recorder.book(entry, family, None, found.spend, span.get_span_context())
        return True

    def shutdown(self) -> None:
        """Forget the open spans."""
        self._open.clear()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing waits here."""
        return True
