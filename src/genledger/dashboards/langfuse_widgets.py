"""Dashboards of Langfuse: widgets, and where they are, as its API takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from genledger.dashboards.panels import Dashboard, Panel, places
from genledger.ledger.query import Filter

_OBSERVATIONS = "observations"
_SCORES = "scores-numeric"
_CALL_TYPES = {"column": "type", "operator": "any of", "type": "stringOptions", "value": ["GENERATION", "EMBEDDING"]}
_ERRORS = {"column": "level", "operator": "any of", "type": "stringOptions", "value": ["ERROR"]}
_UNPRICED = {"column": "tags", "operator": "any of", "type": "arrayOptions", "value": ["unpriced"]}
_TYPES = {"embeddings": "EMBEDDING", "retrieval": "RETRIEVER", "rerank": "RETRIEVER"}

DIMENSIONS: Mapping[str, str] = {
    "feature": "traceName",
    "tenant": "tags",
    "model": "providedModelName",
    "prompt_name": "promptName",
    "prompt_version": "promptVersion",
    "release": "release",
    "outcome": "level",
    "operation": "type",
    "outcome_name": "name",
    "score_name": "name",
}
"""The dimension of each field. Langfuse groups by whole lists of tags, and never by metadata, users or sessions."""

_NOTES = {
    "feature": "It needs GENLEDGER_LANGFUSE_TRACE_NAME=feature where calls are sent from.",
    "tenant": "A group is a whole list of tags, with `tenant:` and the tenant in it.",
}


class Measure(NamedTuple):
    """A measure of Langfuse, its aggregation, the view that has it, and what narrows it."""

    name: str
    agg: str
    view: str = _OBSERVATIONS
    filters: tuple[Mapping[str, Any], ...] = ()


MEASURES: Mapping[str, Measure] = {
    "cost": Measure("totalCost", "sum"),
    "calls": Measure("count", "count", filters=(_CALL_TYPES,)),
    "unpriced": Measure("count", "count", filters=(_UNPRICED, _CALL_TYPES)),
    "errors": Measure("count", "count", filters=(_ERRORS, _CALL_TYPES)),
    "tokens": Measure("totalTokens", "sum"),
    "input_tokens": Measure("inputTokens", "sum"),
    "output_tokens": Measure("outputTokens", "sum"),
    "latency": Measure("latency", "avg", filters=(_CALL_TYPES,)),
    "latency_p50": Measure("latency", "p50", filters=(_CALL_TYPES,)),
    "latency_p95": Measure("latency", "p95", filters=(_CALL_TYPES,)),
    "time_to_first_chunk": Measure("timeToFirstToken", "avg", filters=(_CALL_TYPES,)),
    "outcomes": Measure("count", "count", _SCORES),
    "outcome_value": Measure("value", "sum", _SCORES),
    "score": Measure("value", "avg", _SCORES),
}
"""The metrics that Langfuse has. Ratios of two of them, such as an error rate, it has not."""

_CHARTS = {
    "bars": "BAR_TIME_SERIES",
    "shares": "BAR_TIME_SERIES",
    "lines": "LINE_TIME_SERIES",
    "ranking": "HORIZONTAL_BAR",
    "number": "NUMBER",
    "table": "PIVOT_TABLE",
}


def build(dashboard: Dashboard) -> dict[str, Any] | None:
    """Return a dashboard, and the widgets on it, or `None` if none of the panels can be answered.

    A placement's `widget` is the widget's number in the list; the API wants the id that it gives the widget.
    """
    asked = [(panel, widget) for panel in dashboard.panels if (widget := _widget(panel)) is not None]
    if not asked:
        return None
    where = places(tuple(panel for panel, _ in asked))
    return {
        "name": dashboard.title,
        "description": dashboard.help,
        "widgets": [widget for _, widget in asked],
        "placements": [
            {
                "widget": number,
                "x": place.x // 2,
                "y": place.y // 2,
                "width": place.width // 2,
                "height": place.height // 2,
            }
            for number, place in enumerate(where)
        ],
    }


def _widget(panel: Panel) -> dict[str, Any] | None:
    known = [MEASURES[name] for name in panel.metrics if name in MEASURES]
    dimensions = list(dict.fromkeys(DIMENSIONS.get(name, "") for name in panel.by))
    conditions = [_filter(one) for one in panel.where]
    if not known or "" in dimensions or None in conditions:
        return None
    view = known[0].view
    # A widget has one view and one set of filters; but a table several measures, and others one.
    alike = [one for one in known if one.view == view and one.filters == known[0].filters]
    shown = alike if panel.chart == "table" else alike[:1]
    chart = _CHARTS[panel.chart]
    config: dict[str, Any] = {"type": chart}
    if panel.top and not panel.over_time:
        config["row_limit"] = min(panel.top, 100)
    return {
        "name": panel.title,
        "description": " ".join([panel.help, *(_NOTES[name] for name in panel.by if name in _NOTES)]),
        "view": view,
        "dimensions": [{"field": name} for name in dimensions],
        "metrics": [{"measure": one.name, "agg": one.agg} for one in shown],
        "filters": [*known[0].filters, *(one for one in conditions if one is not None)],
        "chartType": chart,
        "chartConfig": config,
    }


def _filter(condition: Filter) -> Mapping[str, Any] | None:
    if condition.field == "operation" and condition.operator == "=":
        types = sorted({_TYPES.get(value, "GENERATION") for value in condition.values})
        return {"column": "type", "operator": "any of", "type": "stringOptions", "value": types}
    if condition == Filter("outcome", "!=", ("success",)):
        levels = ["ERROR", "WARNING"]
        return {"column": "level", "operator": "any of", "type": "stringOptions", "value": levels}
    return None
