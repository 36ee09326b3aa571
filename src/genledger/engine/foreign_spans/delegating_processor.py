"""The one span processor that Genledger adds to a provider."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from genledger.engine.foreign_spans.seen_spans import seen
from genledger.shared import internal_errors
from genledger.shared.identity_map import IdentityMap
from genledger.shared.private_attributes import EndingSpanHook

if TYPE_CHECKING:
    from genledger.engine.foreign_spans.processor import ForeignSpanProcessor


class ForeignOnly:
    """Base of a span processor that takes no spans of ours."""


class _Nothing(EndingSpanHook, SpanProcessor):
    """Stands first where nothing is connected."""

    def passes(self, span: ReadableSpan) -> bool:
        """Nothing is followed."""
        return True


class DelegatingSpanProcessor(EndingSpanHook, SpanProcessor):
    """Pass spans on to the currently connected processors: first to the one that follows them, then to destinations.

    A provider keeps for ever the processors that it was given. Without this, each further `instrument()` would
    add another set beside those of the one before, and every foreign span would be priced once more.

    A processor that fails keeps no span from the others, nor from the application that starts or ends it.
    """

    def __init__(self) -> None:
        self.connect()

    def connect(self, first: ForeignSpanProcessor | None = None, others: Iterable[SpanProcessor] = ()) -> None:
        """Pass spans on to these, and no others; to each what it listens to.

        The first gets every span as it is. It may hide some, or move their parents: the others get what is shown then.
        """
        self._first = _Nothing() if first is None else first
        self._others = tuple(others)
        self._of_ours = tuple(one for one in self._others if not isinstance(one, ForeignOnly))
        self._starting = tuple(one for one in self._others if type(one).on_start is not SpanProcessor.on_start)
        self._ending = tuple(one for one in self._others if isinstance(one, EndingSpanHook))

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        shown: Any = span
        try:
            self._first.on_start(span, parent_context)
            shown = seen(span) if self._starting else None
        except Exception as error:
            internal_errors.report("following a span", error)
        if shown is None:
            return
        for processor in self._starting:
            try:
                processor.on_start(shown, parent_context)
            except Exception as error:
                internal_errors.report("following a span", error)

    def on_ending(self, span: Span) -> None:
        shown: Any = span
        try:
            self._first.on_ending(span)
            shown = seen(span) if self._ending else None
        except Exception as error:
            internal_errors.report("following a span", error)
        if shown is None:
            return
        for processor in self._ending:
            try:
                processor.on_ending(shown)
            except Exception as error:
                internal_errors.report("following a span", error)

    def on_end(self, span: ReadableSpan) -> None:
        shown: Any = span
        others = self._others
        try:
            if self._first.passes(span):
                others = self._of_ours
            else:
                self._first.on_end(span)
                shown = seen(span, ended=True) if others else None
        except Exception as error:
            internal_errors.report("following a span", error)
        if shown is None:
            return
        for processor in others:
            try:
                processor.on_end(shown)
            except Exception as error:
                internal_errors.report("following a span", error)

    def shutdown(self) -> None:
        for processor in (self._first, *self._others):
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        flushed = [processor.force_flush(timeout_millis) for processor in (self._first, *self._others)]
        return all(flushed)


_processors_of: IdentityMap[DelegatingSpanProcessor] = IdentityMap()  # Logfire's provider cannot be hashed


def delegating_processor_of(provider: Any) -> DelegatingSpanProcessor | None:
    """Return the delegating processor of a tracer provider, added if missing; `None` if it takes no processors."""
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return None
    delegating = _processors_of.get(provider)
    if delegating is None:
        delegating = DelegatingSpanProcessor()
        _processors_of.set(provider, delegating)
        add(delegating)
    return delegating


def disconnect() -> None:
    """Pass no spans on, whatever the provider."""
    for delegating in _processors_of.values():
        delegating.connect()
