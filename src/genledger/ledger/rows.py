"""Records as rows of the ledger, and back.

Trace and span ids are hexadecimal text, as everywhere else they are shown; sequences and mappings are JSON,
NULL when empty; an unknown number is NULL, never 0.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from genledger.context.attribution import Attribution
from genledger.engine.later_usage.job_book import CallStart
from genledger.engine.record import CacheHit, CallRecord, ProductEvent, StepRecord
from genledger.pricing.cost import Cost, Part
from genledger.pricing.usage import TOKEN_BUCKETS, Usage
from genledger.shared.text import bounded

Values = tuple[Any, ...]

ATTRIBUTION_COLUMNS = (
    "tenant",
    "feature",
    "user",
    "session",
    "prompt_name",
    "prompt_version",
    "tags",
    "metadata",
)
COST_COLUMNS = ("cost_usd", "cost_source", "cost_table_date", "cost_parts", "cost_notes", "unpriced")
CALL_COLUMNS = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "started_ns",
    "duration_s",
    "time_to_first_chunk_s",
    "library",
    "provider",
    "operation",
    "request_model",
    "response_model",
    "response_id",
    "server_address",
    "server_port",
    "stream",
    "outcome",
    "error_type",
    "attempts",
    "retry_causes",
    *ATTRIBUTION_COLUMNS,
    *TOKEN_BUCKETS,
    "units",
    "usage_estimated",
    *COST_COLUMNS,
    "tier",
    "region",
    "release",
)
OUTCOME_COLUMNS = (
    *("name", "at_ns", "value", "trace_id", "span_id", "currency", "key", "release"),
    *ATTRIBUTION_COLUMNS,
)
HIT_COLUMNS = (
    *("cache", "at_ns", "trace_id", "span_id", "provider", "model", "saved_usd", "release"),
    *TOKEN_BUCKETS,
    "units",
    *ATTRIBUTION_COLUMNS,
)
STEP_COLUMNS = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "kind",
    "name",
    "started_ns",
    "duration_s",
    "error_type",
    "tenant",
    "feature",
)

_NO_BUCKETS: Values = (None,) * (len(TOKEN_BUCKETS) + 1)


def trace_hex(trace_id: int) -> str:
    """Return a trace id as W3C Trace Context writes it: 32 hexadecimal digits."""
    return f"{trace_id:032x}"


def span_hex(span_id: int) -> str:
    """Return a span id as W3C Trace Context writes it: 16 hexadecimal digits."""
    return f"{span_id:016x}"


def _trace(trace_id: int | None) -> str | None:
    return None if trace_id is None else trace_hex(trace_id)


def _span(span_id: int | None) -> str | None:
    return None if span_id is None else span_hex(span_id)


def _text(name: str | None) -> str | None:
    return None if name is None else bounded(name)


def _number(digits: str | None) -> int | None:
    return None if digits is None else int(digits, 16)


def _json(value: Collection[Any]) -> str | None:
    return orjson.dumps(value).decode() if value else None


def _tuple(text: str | None) -> tuple[Any, ...]:
    return tuple(orjson.loads(text)) if text else ()


def _mapping(text: str | None) -> Mapping[str, Any]:
    return orjson.loads(text) if text else {}


def attribution_values(attribution: Attribution) -> Values:
    """Return the values of `ATTRIBUTION_COLUMNS`."""
    return (
        attribution.tenant,
        attribution.feature,
        attribution.user,
        attribution.session,
        attribution.prompt_name,
        attribution.prompt_version,
        _json(attribution.tags),
        _json(dict(attribution.metadata)),
    )


def attribution_of(row: sqlite3.Row) -> Attribution:
    """Return the attribution in `row`."""
    return Attribution(
        tenant=row["tenant"],
        feature=row["feature"],
        user=row["user"],
        session=row["session"],
        prompt_name=row["prompt_name"],
        prompt_version=row["prompt_version"],
        tags=_tuple(row["tags"]),
        metadata=_mapping(row["metadata"]),
    )


def _usage_values(usage: Usage | None) -> Values:
    if usage is None:
        return _NO_BUCKETS
    return (*(getattr(usage, bucket) for bucket in TOKEN_BUCKETS), _json(dict(usage.units)))


def _usage_of(row: sqlite3.Row) -> Usage | None:
    if row["input"] is None:
        return None
    tokens: dict[str, int] = {bucket: row[bucket] for bucket in TOKEN_BUCKETS}
    return Usage(units=_mapping(row["units"]), **tokens)


def cost_values(cost: Cost | None, unpriced: str | None) -> Values:
    """Return the values of `COST_COLUMNS`."""
    if cost is None:
        return (None, None, None, None, None, unpriced)
    parts = [(part.bucket, part.count, part.rate, part.amount) for part in cost.parts]
    return (cost.amount, cost.source, cost.table_date, _json(parts), _json(cost.notes), unpriced)


def _cost_of(row: sqlite3.Row) -> Cost | None:
    if row["cost_usd"] is None:
        return None
    return Cost(
        amount=row["cost_usd"],
        source=row["cost_source"],
        parts=tuple(Part(*part) for part in _tuple(row["cost_parts"])),
        table_date=row["cost_table_date"],
        notes=_tuple(row["cost_notes"]),
    )


def call_values(entry: CallRecord) -> Values:
    """Return the values of `CALL_COLUMNS`."""
    return (
        trace_hex(entry.trace_id),
        span_hex(entry.span_id),
        _span(entry.parent_span_id),
        entry.started_ns,
        entry.duration_s,
        entry.time_to_first_chunk_s,
        entry.library,
        entry.provider,
        entry.operation,
        entry.request_model,
        entry.response_model,
        entry.response_id,
        entry.server_address,
        entry.server_port,
        entry.stream,
        entry.outcome,
        entry.error_type,
        entry.attempts,
        _json(entry.retry_causes),
        *attribution_values(entry.attribution),
        *_usage_values(entry.usage),
        entry.usage_estimated,
        *cost_values(entry.cost, entry.unpriced),
        entry.tier,
        entry.region,
        entry.release,
    )


def record_of(row: sqlite3.Row) -> CallRecord:
    """Return the entry in a whole row of `calls`."""
    return CallRecord(
        trace_id=int(row["trace_id"], 16),
        span_id=int(row["span_id"], 16),
        parent_span_id=_number(row["parent_span_id"]),
        library=row["library"],
        provider=row["provider"],
        operation=row["operation"],
        request_model=row["request_model"],
        response_model=row["response_model"],
        response_id=row["response_id"],
        started_ns=row["started_ns"],
        duration_s=row["duration_s"],
        time_to_first_chunk_s=row["time_to_first_chunk_s"],
        stream=bool(row["stream"]),
        outcome=row["outcome"],
        error_type=row["error_type"],
        attempts=row["attempts"],
        retry_causes=_tuple(row["retry_causes"]),
        attribution=attribution_of(row),
        usage=_usage_of(row),
        usage_estimated=bool(row["usage_estimated"]),
        cost=_cost_of(row),
        unpriced=row["unpriced"],
        server_address=row["server_address"],
        server_port=row["server_port"],
        tier=row["tier"],
        region=row["region"],
        release=row["release"],
    )


def start_value(start: CallStart | None) -> str | None:
    """Return the column value for the facts about a call before its answer."""
    return None if start is None else _json((trace_hex(start.trace_id), *start[1:]))


def start_of(text: str | None) -> CallStart | None:
    """Read the facts about a call before its answer from a column."""
    if text is None:
        return None
    trace, *rest = _tuple(text)
    return CallStart(int(trace, 16), *rest)


def outcome_values(event: ProductEvent) -> Values:
    """Return the values of `OUTCOME_COLUMNS`."""
    return (
        bounded(event.name),
        event.at_ns,
        event.value,
        _trace(event.trace_id),
        _span(event.span_id),
        event.currency,
        event.key,
        event.release,
        *attribution_values(event.attribution),
    )


def hit_values(hit: CacheHit) -> Values:
    """Return the values of `HIT_COLUMNS`."""
    return (
        bounded(hit.cache),
        hit.at_ns,
        _trace(hit.trace_id),
        _span(hit.span_id),
        _text(hit.provider),
        _text(hit.model),
        hit.saved_usd,
        hit.release,
        *_usage_values(hit.usage),
        *attribution_values(hit.attribution),
    )


def step_values(step: StepRecord) -> Values:
    """Return the values of `STEP_COLUMNS`."""
    return (
        trace_hex(step.trace_id),
        span_hex(step.span_id),
        _span(step.parent_span_id),
        step.kind,
        bounded(step.name),
        step.started_ns,
        step.duration_s,
        _text(step.error_type),
        _text(step.tenant),
        _text(step.feature),
    )


def step_of(row: sqlite3.Row) -> StepRecord:
    """Return the step in a row of `steps`."""
    return StepRecord(
        trace_id=int(row["trace_id"], 16),
        span_id=int(row["span_id"], 16),
        parent_span_id=_number(row["parent_span_id"]),
        kind=row["kind"],
        name=row["name"],
        started_ns=row["started_ns"],
        duration_s=row["duration_s"],
        error_type=row["error_type"],
        tenant=row["tenant"],
        feature=row["feature"],
    )
