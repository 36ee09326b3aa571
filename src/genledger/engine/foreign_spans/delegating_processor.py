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
        self._first = self._processors[0] if self._processors else None
        self._starting = tuple(one for one in self._processors if type(one).on_start is not SpanProcessor.on_start)
        self._ending = tuple(one for one in self._processors if isinstance(one, EndingSpanHook))

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.pass_on(self._starting, span, lambda processor, shown: processor.on_start(shown, parent_context))

    def on_ending(self, span: Span) -> None:
        self.pass_on(self._ending, span, lambda processor, shown: processor.on_ending(shown))

    def on_end(self, span: ReadableSpan) -> None:
        self.pass_on(self._processors, span, lambda processor, shown: processor.on_end(shown), ended=True)

    def pass_on(
        self, processors: tuple[Any, ...], span: Any, tell: Callable[[Any, Any], None], *, ended: bool = False
    ) -> None:
        """Tell the first processor of a span as it is, and the others as it is shown."""
        shown = None
        for processor in processors:
            try:
                if processor is self._first:
                    tell(processor, span)
                    continue
                shown = shown if shown is not None else seen(span, ended=ended)
                if shown is None:
                    return
                tell(processor, shown)
            except Exception as error:
                internal_errors.report("following a span", error)

    def shutdown(self) -> None:
        for processor in self._processors:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        flushed = [processor.force_flush(timeout_millis) for processor in self._processors]
        return all(flushed)


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
