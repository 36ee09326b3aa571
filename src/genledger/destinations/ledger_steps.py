"""The steps among ended spans, and the spans between them, as rows of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from genledger.engine.content.redaction import stage
from genledger.engine.foreign_spans.delegating_processor import ForeignOnly
from genledger.engine.foreign_spans.places import AROUND, SpansAround
from genledger.engine.record import StepRecord
from genledger.engine.recorder import SCOPE
from genledger.engine.steps import OPERATIONS, Kind
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_KINDS: Mapping[object, Kind] = {
    S.PLAN: "task",
    **{operation: kind for kind, (operation, _) in OPERATIONS.items() if operation},
}
"""Operations (`gen_ai.operation.name`) of the application itself, that calls to providers are made in."""


def step_of(span: ReadableSpan) -> StepRecord | None:
    """Return the step that an ended span is, or `None` when it is a call (only these have an outcome) or neither."""
    attributes = span.attributes
    if isinstance(attributes, MappingProxyType):
        attributes = attributes.copy()  # a dictionary: looking up in what the SDK keeps them in takes long
    if not attributes:
        return None
    operation = attributes.get(A.GEN_AI_OPERATION_NAME)
    kind = _KINDS.get(operation)
    if kind is None and A.GENLEDGER_OPERATION_KIND in attributes:
        kind = "task"
    if kind is None or A.GENLEDGER_OUTCOME in attributes:
        return None
    return _row(span, attributes, kind, _name(span, kind, operation, attributes))


def _name(span: ReadableSpan, kind: Kind, operation: object, attributes: Mapping[str, Any]) -> str:
    """Return the name of a step without its operation's; the kind's for one that has none."""
    named = attributes.get(OPERATIONS[kind][1])
    if isinstance(named, str) and named:
        return named
    return span.name if kind == "task" else span.name.removeprefix(f"{operation}").strip() or kind


def _row(span: ReadableSpan, attributes: Mapping[str, Any], kind: Kind | None, name: str) -> StepRecord | None:
    context, parent = span.context, span.parent
    if context is None or span.start_time is None or span.end_time is None:
        return None

    def text(key: str) -> str | None:
        value = attributes.get(key)
        return value if isinstance(value, str) else None

    error = text(A.ERROR_TYPE)
    return StepRecord(
        context.trace_id,
        context.span_id,
        parent.span_id if parent is not None else None,
        kind,
        name,
        span.start_time,
        (span.end_time - span.start_time) / 1e9,
        stage().name(error) if error is not None else None,
        text(A.GENLEDGER_TENANT_ID),
        text(A.GENLEDGER_FEATURE),
    )


class StepReader:
    """Reads ended spans as steps.

    The application's own spans, and those of a framework, may stand between a call or step and the step around it.
    Each of these becomes a row without a kind, so that the ledger knows what is inside of what.

    Args:
        around: Spans that are known to have a call or step inside, beside those that this sees ending.
    """

    def __init__(self, around: SpansAround) -> None:
        self._around = around

    def end(self, span: ReadableSpan, *, is_call: bool) -> StepRecord | None:
        """Return the row of an ended span; `None` for a call, which has its own, and for a span that needs none."""
        is_around = self._around.forget(span.context.span_id)
        step = None if is_call else step_of(span)
        if step is None and not is_call:
            if span.parent is None or not is_around:
                return None
            step = _row(span, span.attributes or {}, None, "")
        self._around.note(span.parent)
        return step


class StepProcessor(ForeignOnly, SpanProcessor):
    """Gives the ledger the spans of others that are steps, or stand between ours: a trace keeps its shape there.

    Our own steps go to the ledger when they end, sampled or not.

    Args:
        accept: Takes a row; must not block.
    """

    def __init__(self, accept: Callable[[StepRecord], None]) -> None:
        self._accept = accept
        self._steps = StepReader(AROUND)

    def on_end(self, span: ReadableSpan) -> None:
        """Take an ended span if it is a step, or between two."""
        scope = span.instrumentation_scope
        if scope is not None and scope.name == SCOPE:
            return
        step = self._steps.end(span, is_call=A.GENLEDGER_OUTCOME in (span.attributes or ()))
        if step is not None:
            self._accept(step)
