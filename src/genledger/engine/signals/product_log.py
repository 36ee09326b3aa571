"""Product outcomes and cache hits as OpenTelemetry events: log records of the trace that they belong to."""

from __future__ import annotations

from typing import Any

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from genledger.engine.record import CacheHit, ProductEvent
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import events as E


class ProductLog:
    """Emits the events through one logger."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def emit(self, event: ProductEvent | CacheHit, span: SpanContext | None) -> None:
        """Emit one event at the time that it has.

        Args:
            event: The outcome or hit.
            span: The span of the application that it was recorded in, if it belongs to its trace.
        """
        attributes: dict[str, Any] = {
            **event.attribution.attributes,
            A.SERVICE_VERSION: event.release,
            **(_outcome(event) if isinstance(event, ProductEvent) else _hit(event)),
        }
        if span is None and event.trace_id is not None:
            span = SpanContext(event.trace_id, event.span_id or 0, is_remote=False, trace_flags=TraceFlags())
        self._logger.emit(
            LogRecord(
                timestamp=event.at_ns,
                context=set_span_in_context(INVALID_SPAN if span is None else NonRecordingSpan(span), Context()),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                event_name=E.GENLEDGER_OUTCOME if isinstance(event, ProductEvent) else E.GENLEDGER_CACHE_HIT,
                attributes={name: value for name, value in attributes.items() if value is not None},
            )
        )


def _outcome(event: ProductEvent) -> dict[str, Any]:
    return {
        A.GENLEDGER_OUTCOME_NAME: event.name,
        A.GENLEDGER_OUTCOME_VALUE: event.value,
        A.GENLEDGER_OUTCOME_CURRENCY: event.currency,
        A.GENLEDGER_OUTCOME_KEY: event.key,
    }


def _hit(hit: CacheHit) -> dict[str, Any]:
    usage, model = hit.usage, hit.model
    return {
        A.GENLEDGER_CACHE_NAME: bounded(hit.cache),
        A.GENLEDGER_CACHE_SAVED: hit.saved_usd,
        A.GEN_AI_PROVIDER_NAME: hit.provider,
        A.GEN_AI_REQUEST_MODEL: bounded(model) if model is not None else None,
        A.GEN_AI_USAGE_INPUT_TOKENS: usage.input_tokens if usage is not None else None,
        A.GEN_AI_USAGE_OUTPUT_TOKENS: usage.output_tokens if usage is not None else None,
    }
