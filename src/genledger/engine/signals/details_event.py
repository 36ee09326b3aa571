"""The conventions' details event: the same facts as the span, through OpenTelemetry logs.

Convention: `gen_ai.client.inference.operation.details`, recommended, severity DEBUG, attributes only, content
structured rather than as JSON strings.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.trace import set_span_in_context

from genledger.engine.operation import Attributes
from genledger_semconv import attributes as A
from genledger_semconv import events as E

if TYPE_CHECKING:
    from genledger.engine.call import Call

_CONTENT = (
    A.GEN_AI_SYSTEM_INSTRUCTIONS,
    A.GEN_AI_INPUT_MESSAGES,
    A.GEN_AI_OUTPUT_MESSAGES,
    A.GEN_AI_TOOL_DEFINITIONS,
)


class DetailsEvent:
    """Emits the event through one logger."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def emit(self, call: Call, answer: Attributes, *, with_content: bool) -> None:
        """Emit the event of one settled call, as a child of its span."""
        attributes: dict[str, Any] = {**call.asked, **answer}
        for name in _CONTENT:
            attributes.pop(name, None)
        if with_content:
            for name, encoded in call.content.items():
                attributes[name] = _named(orjson.loads(encoded))  # type: ignore[arg-type]
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=set_span_in_context(call.span, call.outer),
                severity_number=SeverityNumber.DEBUG,
                severity_text="DEBUG",
                event_name=E.GEN_AI_CLIENT_INFERENCE_OPERATION_DETAILS,
                attributes=attributes,
            )
        )


def _named(value: Any) -> Any:
    """The same content; OpenTelemetry takes no field without a name, which a model may well make up."""
    if isinstance(value, dict):
        return {name or "_": _named(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    return value
