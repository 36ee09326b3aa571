"""Finished spans read back as entries: those of other instrumentations, and our own under other distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from opentelemetry.sdk.trace import ReadableSpan

from genledger import pricing
from genledger.context.attribution import BAGGAGE_KEYS, Attribution
from genledger.engine.content.redaction import stage
from genledger.engine.foreign_spans.places import parent_of
from genledger.engine.priced_usage import cost_attributes
from genledger.engine.record import CallRecord, Outcome
from genledger.engine.recorder import SCOPE
from genledger.pricing.cost import Cost, CostSource, Part
from genledger.pricing.getters import number
from genledger.pricing.readers.attributes import usage_from_attributes
from genledger.pricing.usage import Usage
from genledger.shared.release import version_of
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_APIS = {
    S.CHAT: "chat",
    S.GENERATE_CONTENT: "generateContent",
    S.TEXT_COMPLETION: "completions",
    S.EMBEDDINGS: "embeddings",
}
_KINDS = {
    "LLM": S.CHAT,
    "EMBEDDING": S.EMBEDDINGS,
    "chat": S.CHAT,
    "completion": S.TEXT_COMPLETION,
    "embedding": S.EMBEDDINGS,
}
"""Operations in OpenInference's words, and in Traceloop's."""

_RECORDED = frozenset(_APIS) | S.EXTENSION_OPERATIONS | {S.RETRIEVAL, S.FETCH_RESPONSE}

_PROVIDER = (A.GEN_AI_PROVIDER_NAME, "gen_ai.system", "llm.provider", "llm.system")
_REQUEST_MODEL = (A.GEN_AI_REQUEST_MODEL,)
_RESPONSE_MODEL = (A.GEN_AI_RESPONSE_MODEL, "llm.model_name", "embedding.model_name")


def record_of(span: ReadableSpan) -> CallRecord | None:
    """Return the entry of a span that is a call to a provider, priced if it was not; `None` for any other span.

    What a cache answered is no call.
    """
    attributes: Mapping[str, Any] = span.attributes or {}
    operation = attributes.get(A.GEN_AI_OPERATION_NAME)
    if operation is None:
        kind = attributes.get("openinference.span.kind") or attributes.get("llm.request.type")
        operation = _KINDS.get(kind) if isinstance(kind, str) else None
    if operation is None and A.DB_SYSTEM_NAME in attributes and A.GENLEDGER_OUTCOME in attributes:
        operation = attributes.get(A.DB_OPERATION_NAME)
    elif operation not in _RECORDED:
        return None
    context = span.get_span_context()
    if context is None or not isinstance(operation, str) or A.GENLEDGER_CACHE_NAME in attributes:
        return None
    provider = _first(attributes, _PROVIDER) or attributes.get(A.DB_SYSTEM_NAME) or "unknown"
    usage = usage_from_attributes(attributes)
    model = _first(attributes, _RESPONSE_MODEL) or _first(attributes, _REQUEST_MODEL)
    cost, unpriced = _cost(attributes)
    started = span.start_time or 0
    scope = span.instrumentation_scope.name if span.instrumentation_scope is not None else "unknown"
    # We priced our own spans; a cost on another's is a report like any other.
    claimed = cost is not None and scope != SCOPE
    if claimed or (cost is None and unpriced is None and usage is not None and operation in _APIS):
        answer = pricing.price(
            usage or Usage(),
            provider=str(provider),
            model=model,
            requested=_first(attributes, _REQUEST_MODEL),
            at_ns=started,
            reported=cost.amount if cost is not None else None,
        )
        if isinstance(answer, str):
            cost, unpriced = None, answer
        elif not claimed or answer.source != "provider":
            cost = answer
    error = attributes.get(A.ERROR_TYPE)
    parent = parent_of(span)
    return CallRecord(
        context.trace_id,
        context.span_id,
        parent.span_id if parent is not None else None,
        scope,
        str(provider),
        operation,
        _first(attributes, _REQUEST_MODEL),
        _first(attributes, _RESPONSE_MODEL),
        _first(attributes, (A.GEN_AI_RESPONSE_ID,)),
        started,
        max(0, (span.end_time or started) - started) / 1e9,
        attributes.get(A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
        bool(attributes.get(A.GEN_AI_REQUEST_STREAM)),
        cast(
            Outcome,
            _first(attributes, (A.GENLEDGER_OUTCOME,)) or ("success" if span.status.is_unset else _outcome(span)),
        ),
        stage().name(error) if isinstance(error, str) else None,
        int(attributes.get(A.GENLEDGER_ATTEMPTS) or 1),
        tuple(attributes.get(A.GENLEDGER_RETRY_CAUSES) or ()),
        _attribution(attributes),
        usage,
        bool(attributes.get(A.GENLEDGER_USAGE_ESTIMATED)),
        cost,
        unpriced,
        _first(attributes, (A.SERVER_ADDRESS,)),
        attributes.get(A.SERVER_PORT),
        release=version_of(span.resource),
    )


def priced_attributes(entry: CallRecord) -> dict[str, Any]:
    """Return the attributes that an entry adds to a span of another instrumentation."""
    attributes: dict[str, Any] = {A.GENLEDGER_OUTCOME: entry.outcome}
    cost_attributes(entry.cost, entry.unpriced, attributes)
    return attributes


def _outcome(span: ReadableSpan) -> Outcome:
    return "success" if span.status.is_ok else "error"


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _cost(attributes: Mapping[str, Any]) -> tuple[Cost | None, str | None]:
    amount = number(attributes.get(A.GENLEDGER_COST_AMOUNT))
    if amount is None:
        return None, attributes.get(A.GENLEDGER_COST_UNPRICED)
    parts = tuple(
        Part(bucket, 0, 0.0, value)
        for bucket, name in (
            ("input", A.GENLEDGER_COST_INPUT),
            ("output", A.GENLEDGER_COST_OUTPUT),
            ("cache_read", A.GENLEDGER_COST_CACHE_READ),
            ("cache_write", A.GENLEDGER_COST_CACHE_WRITE),
            ("other", A.GENLEDGER_COST_OTHER),
        )
        if (value := number(attributes.get(name))) is not None
    )
    source = cast(CostSource, attributes.get(A.GENLEDGER_COST_SOURCE) or "table")
    notes = tuple(attributes.get(A.GENLEDGER_COST_NOTES) or ())
    return Cost(amount, source, parts, attributes.get(A.GENLEDGER_COST_TABLE_DATE), notes), None


def _attribution(attributes: Mapping[str, Any]) -> Attribution:
    """Who a span says it was for, in whichever instrumentation's words: not checked when it was said."""
    prefix = f"{A.GENLEDGER_METADATA}."

    def text(value: Any) -> Any:
        return bounded(value) if isinstance(value, str) else value

    return Attribution(
        **{name: text(str(attributes[key])) for name, key in BAGGAGE_KEYS.items() if attributes.get(key) is not None},
        tags=tuple(map(text, attributes.get(A.GENLEDGER_TAGS) or ())),
        metadata={
            text(name[len(prefix) :]): text(value) for name, value in attributes.items() if name.startswith(prefix)
        },
    )
