"""Spans that the application's own exporters do not send: nothing is sent to one place twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from genledger.destinations.delivery.attempt import Attempt
from genledger.shared import internal_errors
from genledger.shared.loggers import logger_of
from genledger.shared.private_attributes import span_processors

_log = logger_of("genledger")


class UnsentSpanProcessor(SpanProcessor):
    """Pass spans on, unless an exporter of the provider sends them to the same place.

    It is asked at the end of each span, so that an exporter which the application adds later counts from then on.

    Args:
        processor: What spans are passed on to.
        provider: The tracer provider whose spans they are.
        sends_there: Whether an exporter sends to the place that `processor` sends to.
        place: That place, for people.
    """

    def __init__(self, processor: SpanProcessor, provider: Any, sends_there: Callable[[Any], bool], place: str) -> None:
        self._processor = processor
        self._provider = provider
        self._sends_there = sends_there
        self._place = place
        self._seen: tuple[Any, ...] = ()
        self._theirs: list[Any] = []

    @property
    def theirs(self) -> list[Any]:
        """The application's own processors whose exporter sends to the same place."""
        processors = span_processors(self._provider)
        if processors is not self._seen:
            before, self._theirs = self._theirs, [one for one in processors if self._is_theirs(one)]
            self._seen = processors
            if self._theirs and not before:
                _log.info(
                    "genledger: an exporter of the application sends its spans to %s; Genledger leaves them to it",
                    self._place,
                )
        return self._theirs

    def _is_theirs(self, processor: Any) -> bool:
        # The spans that Langfuse's own processor sends are up to a filter of it; `conflict` tells of that one.
        if type(processor).__name__ == "LangfuseSpanProcessor":
            return False
        try:
            return self._sends_there(getattr(processor, "span_exporter", None))
        except Exception as error:
            internal_errors.report("looking at an exporter of the application", error)
            return False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if not self.theirs:
            self._processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        if not self.theirs:
            self._processor.on_end(span)

    def shutdown(self) -> None:
        self._processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._processor.force_flush(timeout_millis)

    def flush_theirs(self, timeout: float) -> bool:
        """Let the application's own processors export what was left to them, for at most `timeout` seconds."""
        theirs = self.theirs

        def flush() -> bool:
            flushed = [one.force_flush(int(timeout * 1000)) for one in theirs]
            return False not in flushed

        try:
            return not theirs or Attempt(flush).result(timeout)
        except TimeoutError:
            return False
