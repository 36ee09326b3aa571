"""Boards of Honeycomb, on the spans of calls: each panel a query, and each point leads to its traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from genledger.dashboards.panels import Dashboard, Panel, words
from genledger.dashboards.trace_attributes import ATTRIBUTES
from genledger.ledger.query import Filter
from genledger_semconv import attributes as A

DATASET = "__all__"
"""Queries are about the whole environment: each service has a dataset of its own."""

COLUMNS: Mapping[str, str] = {
    **ATTRIBUTES,
    "session": A.GEN_AI_CONVERSATION_ID,
    "outcome_name": A.GENLEDGER_OUTCOME_NAME,
    "currency": A.GENLEDGER_OUTCOME_CURRENCY,
    "release": A.SERVICE_VERSION,
    "score_name": A.GEN_AI_EVALUATION_NAME,
}
"""The column of each field."""


class Calculation(NamedTuple):
    """How a metric is calculated.

    Attributes:
        op: The operation of Honeycomb.
        column: What it is of; nothing for a count.
        formula: Of a calculated field with that name, if the column is none of the events.
        exists: The column that marks the events which it is about.
    """

    op: str
    column: str = ""
    formula: str = ""
    exists: str = A.GENLEDGER_OUTCOME


def _flag(name: str, op: str, condition: str) -> Calculation:
    return Calculation(op, name, f"IF({condition}, 1, 0)")


_FAILED = f'IN(${A.GENLEDGER_OUTCOME}, "error", "timeout", "rate_limited")'
_UNPRICED = f"EXISTS(${A.GENLEDGER_COST_UNPRICED})"
_TOKENS = f"SUM(${A.GEN_AI_USAGE_INPUT_TOKENS}, ${A.GEN_AI_USAGE_OUTPUT_TOKENS})"

CALCULATIONS: Mapping[str, Calculation] = {
    "cost": Calculation("SUM", A.GENLEDGER_COST_AMOUNT),
    "calls": Calculation("COUNT"),
    "unpriced": _flag("unpriced", "SUM", _UNPRICED),
    "unpriced_share": _flag("unpriced", "AVG", _UNPRICED),
    "errors": _flag("failed", "SUM", _FAILED),
    "error_rate": _flag("failed", "AVG", _FAILED),
    "tokens": Calculation("SUM", "tokens", _TOKENS),
    "input_tokens": Calculation("SUM", A.GEN_AI_USAGE_INPUT_TOKENS),
    "output_tokens": Calculation("SUM", A.GEN_AI_USAGE_OUTPUT_TOKENS),
    "cached_tokens": Calculation("SUM", A.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS),
    "cache_write_tokens": Calculation("SUM", A.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS),
    "reasoning_tokens": Calculation("SUM", A.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS),
    "retries": Calculation(
        "SUM", "repeated", f"IF(EXISTS(${A.GENLEDGER_ATTEMPTS}), SUB(${A.GENLEDGER_ATTEMPTS}, 1), 0)"
    ),
    "latency_p50": Calculation("P50", "duration_ms"),
    "latency_p95": Calculation("P95", "duration_ms"),
    "time_to_first_chunk": Calculation("AVG", A.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
    "outcomes": _flag("counted", "SUM", f"EXISTS(${A.GENLEDGER_OUTCOME_NAME})")._replace(
        exists=A.GENLEDGER_OUTCOME_NAME
    ),
    "outcome_value": Calculation("SUM", A.GENLEDGER_OUTCOME_VALUE, exists=A.GENLEDGER_OUTCOME_NAME),
    "cache_hits": Calculation("COUNT", exists=A.GENLEDGER_CACHE_NAME),
    "saved": Calculation("SUM", A.GENLEDGER_CACHE_SAVED, exists=A.GENLEDGER_CACHE_NAME),
    "retrieval_results": Calculation("AVG", A.GENLEDGER_RETRIEVAL_RESULTS, exists=A.GENLEDGER_RETRIEVAL_RESULTS),
    "retrieval_distance": Calculation(
        "AVG", A.GENLEDGER_RETRIEVAL_DISTANCE_MEAN, exists=A.GENLEDGER_RETRIEVAL_DISTANCE_MEAN
    ),
    "score": Calculation("AVG", A.GEN_AI_EVALUATION_SCORE_VALUE, exists=A.GEN_AI_EVALUATION_SCORE_VALUE),
}
"""The metrics that events have. Ratios of two kinds of events, such as cost per outcome, are none of them."""

_OF_SUCCESSES = frozenset({"latency_p50", "latency_p95"})
_CHARTS = {"bars": "tsbar", "shares": "tsbar", "lines": "line", "ranking": "cbar", "number": "stat", "table": "default"}
_SECONDS = {"24h": 86_400, "7d": 604_800, "30d": 2_592_000}
_GRANULARITY = {"hour": 3_600, "day": 86_400}


def build(dashboard: Dashboard) -> dict[str, Any] | None:
    """Return a board with its queries inside, or `None` if none of the panels can be answered."""
    panels = [built for panel in dashboard.panels for built in _panels(panel, _SECONDS[dashboard.period])]
    if not panels:
        return None
    return {
        "name": dashboard.title,
        "description": dashboard.help,
        "layout_generation": "auto",
        "preset_filters": [
            {"column": COLUMNS[field], "alias": words(field)}
            for field in ("tenant", "feature", "model", "provider", "outcome")
        ],
        "panels": panels,
    }


def _panels(panel: Panel, period_s: int) -> list[dict[str, Any]]:
    known = [name for name in panel.metrics if name in CALCULATIONS]
    if not known or any(name not in COLUMNS for name in panel.by):
        return []
    windows = {f"{panel.title}: {window}": _SECONDS[window] for window in panel.windows} or {panel.title: period_s}
    return [_panel(panel, title, known, seconds) for title, seconds in windows.items()]


def _panel(panel: Panel, title: str, metrics: list[str], seconds: int) -> dict[str, Any]:
    query = query_of(metrics, panel.by, panel.where)
    first = query["calculations"][0]
    order = {**first, "order": "descending"}
    found = {
        "type": "query",
        "name": title,
        "description": panel.help,
        "style": "table" if panel.chart == "table" else "graph",
        "dataset": DATASET,
        "time_range": seconds,
        **query,
    }
    if panel.chart != "table":
        found["chart_type"] = _CHARTS[panel.chart]
    if panel.by:
        found |= {"orders": [order], "limit": panel.top or 100}
    if panel.over_time and panel.every is not None:
        found["granularity"] = _GRANULARITY[panel.every]
    return found


def query_of(metrics: list[str], by: tuple[str, ...], where: tuple[Filter, ...]) -> dict[str, Any]:
    """Return the calculations, filters and breakdowns of metrics that `CALCULATIONS` has."""
    asked = [CALCULATIONS[name] for name in metrics]
    kinds = dict.fromkeys(one.exists for one in asked)
    filters = [{"column": name, "op": "exists"} for name in kinds]
    together = "OR" if len(kinds) > 1 else "AND"
    if together == "AND":
        filters += [_filter(one) for one in where]
        if _OF_SUCCESSES.intersection(metrics):
            filters.append(_filter(Filter("outcome", "=", ("success",))))
    formulas = {one.column: one.formula for one in asked if one.formula}
    found: dict[str, Any] = {
        "calculations": [{"op": one.op} | ({"column": one.column} if one.column else {}) for one in asked],
        "filters": filters,
        "filter_combination": together,
    }
    if by:
        found["breakdowns"] = [COLUMNS[name] for name in by]
    if formulas:
        found["calculated_fields"] = [{"name": name, "expression": text} for name, text in formulas.items()]
    return found


def _filter(condition: Filter) -> dict[str, Any]:
    if condition.field == "retried":
        return {"column": A.GENLEDGER_ATTEMPTS, "op": ">", "value": 1}
    column = COLUMNS[condition.field]
    if len(condition.values) == 1:
        return {"column": column, "op": condition.operator, "value": condition.values[0]}
    return {"column": column, "op": "in" if condition.operator == "=" else "not-in", "value": [*condition.values]}
