"""The one span processor that Genledger adds to a provider."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from genledger.engine.foreign_spans.seen_spans import seen
from genledger.shared import internal_errors
from genledger.shared.private_attributes import EndingSpanHook


class DelegatingSpanProcessor(EndingSpanHook, SpanProcessor):
    """Pass spans on to the currently connected processors: first to the one that follows them, then to destinations.

    A provider keeps for ever the processors that it was given. Without this, each further `instrument()` would
    add another set beside those of the one before, and every foreign span would be priced once more.

    A processor that fails keeps no span from the others, nor from the application that starts or ends it.
    """

    def __init__(self) -> None:
        self.connect(())

    def connect(self, processors: Iterable[SpanProcessor]) -> None:
        """Pass spans on to these, and no others; to each what it listens to.

        The first gets every span as it is, the others those that are shown, as they are shown.
        """
        self._processors = tuple(processors)
        self._first, others = self._processors[:1], self._processors[1:]
        self._starting = tuple(one for one in others if type(one).on_start is not SpanProcessor.on_start)
        self._ending = tuple(one for one in others if isinstance(one, EndingSpanHook))
        self._ended = others

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for processor in self._first:
            tell(processor.on_start, span, parent_context)
        if self._starting and (shown := as_shown(span)) is not None:
            for processor in self._starting:
                tell(processor.on_start, shown, parent_context)

    def on_ending(self, span: Span) -> None:
        for processor in self._first:
            if isinstance(processor, EndingSpanHook):
                tell(processor.on_ending, span)
        if self._ending and (shown := as_shown(span)) is not None:
            for processor in self._ending:
                tell(processor.on_ending, shown)

    def on_end(self, span: ReadableSpan) -> None:
        for processor in self._first:
            tell(processor.on_end, span)
        if self._ended and (shown := as_shown(span, ended=True)) is not None:
            for processor in self._ended:
                tell(processor.on_end, shown)

    def shutdown(self) -> None:
        for processor in self._processors:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        flushed = [processor.force_flush(timeout_millis) for processor in self._processors]
        return all(flushed)


def tell(listener: Callable[..., None], *given: Any) -> None:
    """Tell a processor something; its failure is reported."""
    try:
        listener(*given)
    except Exception as error:
        internal_errors.report("following a span", error)


def as_shown(span: Any, *, ended: bool = False) -> Any:
    """Return a span as our destinations see it; `None` for one that they do not."""
    try:
        return seen(span, ended=ended)
    except Exception as error:
        internal_errors.report("following a span", error)
        return None


_processors_of: WeakKeyDictionary[Any, DelegatingSpanProcessor] = WeakKeyDictionary()


def delegating_processor_of(provider: Any) -> DelegatingSpanProcessor | None:
    """Return the delegating processor of a tracer provider, added if missing; `None` if it takes no processors."""
    add = getattr(provider, "add_span_processor", None)
    if add is None:
        return None
    delegating = _processors_of.get(provider)
    if delegating is None:
        delegating = _processors_of[provider] = DelegatingSpanProcessor()
        add(delegating)
    return delegating


def disconnect() -> None:
    """Pass no spans on, whatever the provider."""
    for delegating in list(_processors_of.values()):
        delegating.connect(())
