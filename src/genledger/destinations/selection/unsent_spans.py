"""Spans that the application's own exporters do not send: nothing is sent to one place twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from genledger.destinations.delivery.attempt import Attempt
from genledger.shared import internal_errors
from genledger.shared.loggers import logger_of
from genledger.shared.private_attributes import EndingSpanHook, span_processors

_log = logger_of("genledger")


class UnsentSpanProcessor(EndingSpanHook, SpanProcessor):
    """Pass spans on, unless an exporter of the same provider sends them to the same place.

    It looks when a span starts and ends, so that an exporter which the application adds later counts from then on.

    Args:
        processor: What spans are passed on to.
        sends_there: Whether an exporter sends to the place that `processor` sends to.
        place: That place, for people.
    """

    def __init__(self, processor: SpanProcessor, sends_there: Callable[[Any], bool], place: str) -> None:
        self._processor = processor
        self._sends_there = sends_there
        self._place = place
        self._seen: tuple[Any, ...] = ()
        self._theirs: list[Any] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._look(span)
        if not self._theirs:
            self._processor.on_start(span, parent_context)

    def on_ending(self, span: Span) -> None:
        self._look(span)
        if not self._theirs and isinstance(self._processor, EndingSpanHook):
            self._processor.on_ending(span)

    def on_end(self, span: ReadableSpan) -> None:
        if not self._theirs:
            self._processor.on_end(span)

    def _look(self, span: Span) -> None:
        processors = span_processors(span)
        if processors is not self._seen:
            before, self._theirs = self._theirs, [one for one in processors if self._is_theirs(one)]
            self._seen = processors
            if self._theirs and not before:
                _log.info(
                    "genledger: an exporter of the application sends its spans to %s; Genledger leaves them to it",
                    self._place,
                )

    def _is_theirs(self, processor: Any) -> bool:
        # Langfuse's own processor sends what a filter of it lets through: that is decided for each span.
        if any(base.__name__ == "LangfuseSpanProcessor" for base in type(processor).__mro__):
            return False
        try:
            return self._sends_there(getattr(processor, "span_exporter", None))
        except Exception as error:
            internal_errors.report("looking at an exporter of the application", error)
            return False

    def shutdown(self) -> None:
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._processor.force_flush(timeout_millis)

    def flush_theirs(self, timeout: float) -> bool:
        """Let the application's own processors export what was left to them, for at most `timeout` seconds."""
        theirs = self._theirs

        def flush() -> bool:
            flushed = [one.force_flush(int(timeout * 1000)) for one in theirs]
            return False not in flushed

        try:
            return not theirs or Attempt(flush).result(timeout)
        except TimeoutError:
            return False
