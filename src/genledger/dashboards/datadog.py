"""Dashboards of Datadog, on the metrics that it takes over OTLP: counters as counts, histograms as distributions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from genledger.dashboards.panels import Dashboard, Panel, Place, places, unit_of, words
from genledger.dashboards.trace_attributes import ATTRIBUTES
from genledger.ledger.query import Filter
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M

_WHO = {
    "tenant": A.GENLEDGER_TENANT_ID,
    "feature": A.GENLEDGER_FEATURE,
    "prompt_version": A.GEN_AI_PROMPT_VERSION,
    "release": A.SERVICE_VERSION,
}
_CALL = {
    **_WHO,
    "model": A.GEN_AI_RESPONSE_MODEL,
    "request_model": A.GEN_AI_REQUEST_MODEL,
    "provider": A.GEN_AI_PROVIDER_NAME,
    "operation": A.GEN_AI_OPERATION_NAME,
    "outcome": A.GENLEDGER_OUTCOME,
    "error_type": A.ERROR_TYPE,
    "unpriced_reason": A.GENLEDGER_COST_UNPRICED,
}
_OUTCOME = {**_WHO, "outcome_name": A.GENLEDGER_OUTCOME_NAME, "currency": A.GENLEDGER_OUTCOME_CURRENCY}
_HIT = {**_WHO, "request_model": A.GEN_AI_REQUEST_MODEL, "provider": A.GEN_AI_PROVIDER_NAME}
_BUDGET = {"budget_rule": A.GENLEDGER_BUDGET_RULE, "budget_scope": A.GENLEDGER_BUDGET_SCOPE}
_DROPPED = {"destination": A.GENLEDGER_DESTINATION_NAME, "drop_reason": A.GENLEDGER_DESTINATION_REASON}
_LABEL = {"label_name": A.GENLEDGER_LABEL_NAME}

CHOSEN = {"tenant": A.GENLEDGER_TENANT_ID, "feature": A.GENLEDGER_FEATURE, "model": A.GEN_AI_RESPONSE_MODEL}
_EVERYWHERE = {"env": "env", "cluster": "kube_cluster_name", "service": "service"}


class Measured(NamedTuple):
    """Metric of Datadog.

    Attributes:
        name: Its own, as OpenTelemetry has it.
        tags: The tag of each field that it has.
        space: How points of different sources become one: `sum`, `max`, or a percentile of a distribution.
        conditions: What selects the points that are meant, if not all are.
        without: Operations that it has none of.
    """

    name: str
    tags: Mapping[str, str] = _CALL
    space: str = "sum"
    conditions: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()


_OTHER = frozenset({"embeddings", "rerank", "retrieval"})
_INFERENCE = Measured(M.GEN_AI_CLIENT_INFERENCE_DURATION, without=_OTHER)
_OPERATIONS = Measured(
    M.GEN_AI_CLIENT_OPERATION_DURATION, without=frozenset({"chat", "generate_content", "text_completion"})
)
_DURATIONS = (_INFERENCE, _OPERATIONS)
_INPUT = (
    Measured(M.GEN_AI_CLIENT_INFERENCE_USAGE_INPUT_TOKENS, without=_OTHER),
    Measured(M.GENLEDGER_EMBEDDINGS_TOKENS, without=frozenset({"chat", "rerank", "retrieval"})),
    Measured(M.GENLEDGER_RERANK_TOKENS, without=frozenset({"chat", "embeddings", "retrieval"})),
)
_OUTPUT = (Measured(M.GEN_AI_CLIENT_INFERENCE_USAGE_OUTPUT_TOKENS, without=_OTHER),)
_CHUNKS = Measured(M.GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, space="avg", without=_OTHER)

_SUMS: Mapping[str, tuple[Measured, ...]] = {
    "cost": (Measured(M.GENLEDGER_COST),),
    "calls": tuple(one._replace(space="count") for one in _DURATIONS),
    "unpriced": (Measured(M.GENLEDGER_UNPRICED_CALLS),),
    "tokens": (*_INPUT, *_OUTPUT),
    "input_tokens": _INPUT,
    "output_tokens": _OUTPUT,
    "cached_tokens": (Measured(M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_READ_INPUT_TOKENS),),
    "cache_write_tokens": (Measured(M.GEN_AI_CLIENT_INFERENCE_USAGE_CACHE_WRITE_INPUT_TOKENS),),
    "reasoning_tokens": (Measured(M.GEN_AI_CLIENT_INFERENCE_USAGE_REASONING_OUTPUT_TOKENS),),
    "outcomes": (Measured(M.GENLEDGER_OUTCOMES, _OUTCOME),),
    "outcome_value": (Measured(M.GENLEDGER_OUTCOMES_VALUE, _OUTCOME),),
    "cache_hits": (Measured(M.GENLEDGER_CACHE_HITS, _HIT),),
    "saved": (Measured(M.GENLEDGER_CACHE_SAVED, _HIT),),
    "budget_blocks": (Measured(M.GENLEDGER_BUDGET_BLOCKS, _BUDGET),),
    "budget_store_failures": (Measured(M.GENLEDGER_BUDGET_STORE_FAILURES, {}),),
    "records_dropped": (
        Measured(M.GENLEDGER_DESTINATION_RECORDS, _DROPPED, conditions=(f"{A.GENLEDGER_DESTINATION_STATE}:dropped",)),
    ),
    "labels_overflow": (Measured(M.GENLEDGER_LABELS_OVERFLOW, _LABEL),),
}
_VALUES: Mapping[str, tuple[Measured, ...]] = {
    "budget_used": (Measured(M.GENLEDGER_BUDGET_USED, _BUDGET, "max"),),
    "budget_reserved": (Measured(M.GENLEDGER_BUDGET_RESERVED, _BUDGET, "max"),),
    "latency": tuple(one._replace(space="avg") for one in _DURATIONS),
    "latency_p50": tuple(one._replace(space="p50") for one in _DURATIONS),
    "latency_p95": tuple(one._replace(space="p95") for one in _DURATIONS),
    "time_to_first_chunk": (_CHUNKS,),
}
_ENDED_OTHERWISE = Filter("outcome", "!=", ("success", "cancelled", "blocked"))
_SUCCESS = Filter("outcome", "=", ("success",))
_ROLLUP = {"hour": 3_600, "day": 86_400}
_UNITS = {"USD": "dollar", "s": "second", "1": "percent"}
_WINDOWS = {"24h": "1d", "7d": "1w"}
_PERIODS = {"24h": "1d", "7d": "1w", "30d": "1mo"}


def build(dashboard: Dashboard) -> dict[str, Any] | None:
    """Return the body of `POST /api/v1/dashboard`, or `None` if none of the panels can be answered."""
    asked = [widgets for panel in dashboard.panels if (widgets := _widgets(panel))]
    flat = [one for widgets in asked for one in widgets]
    if not flat:
        return None
    where = places(tuple(panel for panel, _ in flat))
    return {
        "title": dashboard.title,
        "description": f"{dashboard.help} At first, look at the last {dashboard.period}.",
        "layout_type": "ordered",
        "reflow_type": "fixed",
        "template_variables": [
            {"name": name, "prefix": tag, "defaults": ["*"]} for name, tag in {**_EVERYWHERE, **CHOSEN}.items()
        ],
        "widgets": [
            {"definition": definition, "layout": _layout(place)}
            for (_, definition), place in zip(flat, where, strict=True)
        ],
    }


def _layout(place: Place) -> dict[str, int]:
    """Datadog's grid has 12 columns."""
    return {"x": place.x // 2, "y": place.y // 2, "width": place.width // 2, "height": place.height // 2}


def _widgets(panel: Panel) -> list[tuple[Panel, dict[str, Any]]]:
    """The definition of a panel's widget; of one widget for each window where it has several."""
    queries: list[dict[str, Any]] = []
    formulas: list[dict[str, Any]] = []
    for metric in panel.metrics:
        formula = _formula(panel, metric, queries)
        if formula is not None:
            formulas.append({"formula": formula, "alias": words(metric), **_format(metric)})
    if not formulas:
        return []
    if not panel.windows:
        return [(panel, _definition(panel, queries, formulas, panel.title))]
    return [
        (panel, _definition(panel, queries, formulas, f"{panel.title}: {window}") | _live(_WINDOWS[window]))
        for window in panel.windows
    ]


def _live(span: str) -> dict[str, Any]:
    return {"time": {"live_span": span}}


def _format(metric: str) -> dict[str, Any]:
    unit = _UNITS.get(unit_of(metric))
    return {} if unit is None else {"number_format": {"unit": {"type": "canonical_unit", "unit_name": unit}}}


def _definition(
    panel: Panel, queries: list[dict[str, Any]], formulas: list[dict[str, Any]], title: str
) -> dict[str, Any]:
    common: dict[str, Any] = {"title": title, "description": panel.help}
    if links := _links(panel):
        common["custom_links"] = links
    if panel.over_time:
        drawn = {"response_format": "timeseries", "display_type": "line" if panel.chart == "lines" else "bars"}
        request: dict[str, Any] = {**drawn, "queries": queries, "formulas": formulas}
        return {"type": "timeseries", **common, "show_legend": True, "requests": [request]}
    if panel.chart == "number":
        request = {"response_format": "scalar", "queries": _scalar(queries), "formulas": formulas}
        return {"type": "query_value", **common, "autoscale": True, "precision": 2, "requests": [request]}
    count = panel.top or 50
    if panel.chart == "table" and not panel.windows:
        formulas = [{**formulas[0], "limit": {"count": count, "order": "desc"}}, *formulas[1:]]
        request = {"response_format": "scalar", "queries": _scalar(queries), "formulas": formulas}
        return {"type": "query_table", **common, "requests": [request]}
    sort = {"count": count, "order_by": [{"type": "formula", "index": 0, "order": "desc"}]}
    request = {"response_format": "scalar", "queries": _scalar(queries), "formulas": formulas, "sort": sort}
    return {"type": "toplist", **common, "requests": [request]}


def _scalar(queries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**query, "aggregator": "sum" if ".as_count()" in query["query"] else "avg"} for query in queries]


def _links(panel: Panel) -> list[dict[str, str]]:
    """The link from a point to its traces."""
    tags = [ATTRIBUTES[name] for name in panel.by if name in ATTRIBUTES]
    if not tags:
        return []
    found = quote(" ").join(f"@{tag}:{{{{{tag}.value}}}}" for tag in tags)
    return [{"label": "Traces", "link": f"/apm/traces?query={found}"}]


def monitored(metric: str, by: tuple[str, ...], where: tuple[Filter, ...]) -> str | None:
    """Return a metric as a monitor asks for it, without a dashboard's variables; `None` if Datadog does not have it."""
    queries: list[dict[str, Any]] = []
    panel = Panel(title="", help="", chart="number", metrics=(metric,), by=by, where=where)
    formula = _formula(panel, metric, queries, chosen=False)
    texts = {query["name"]: query["query"] for query in queries}
    return formula and re.sub(r"query\d+", lambda name: texts[name[0]], formula)


def _formula(panel: Panel, metric: str, queries: list[dict[str, Any]], *, chosen: bool = True) -> str | None:
    """A metric as a formula of queries, which are added to those there are."""

    def total(name: str, by: tuple[str, ...] = panel.by, *more: Filter) -> str | None:
        measured = _SUMS.get(name) or _VALUES.get(name, ())
        names: list[str] = []
        for one in measured:
            text = _query(one, by, (*panel.where, *more), panel, chosen)
            if text is not None and (name in _SUMS or not names):
                names.append(f"query{len(queries) + 1}")
                queries.append({"data_source": "metrics", "name": names[-1], "query": text})
        if len(names) < 2:
            return names[0] if names else None
        return f"({' + '.join(f'default_zero({one})' for one in names)})"

    if metric in ("cost_per_outcome", "tokens_per_outcome"):
        spent = tuple(name for name in panel.by if name != "outcome_name")
        part, whole = total(metric.removesuffix("_per_outcome"), spent), total("outcomes")
        enough = f"cutoff_min({whole}, {panel.least_outcomes})" if panel.least_outcomes else whole
        return part and whole and f"{part} / {enough}"
    if metric in ("latency", "latency_p50", "latency_p95"):
        return total(metric, panel.by, _SUCCESS)
    match metric:
        case "errors":
            return total("calls", panel.by, _ENDED_OTHERWISE)
        case "error_rate" | "unpriced_share":
            part = total("calls", panel.by, _ENDED_OTHERWISE) if metric == "error_rate" else total("unpriced")
            whole = total("calls")
            return part and whole and f"100 * default_zero({part}) / {whole}"
    found = total(metric)
    return f"100 * {found}" if found is not None and unit_of(metric) == "1" else found


def _query(
    measured: Measured, by: tuple[str, ...], where: tuple[Filter, ...], panel: Panel, chosen: bool
) -> str | None:
    """A metric query, or `None` if the metric has none of what is asked for."""
    if any(name not in measured.tags for name in by):
        return None
    variables = [*_EVERYWHERE, *(name for name in CHOSEN if name in measured.tags)]
    conditions = [f"${name}" for name in variables if chosen]
    conditions += measured.conditions
    together = ","
    for one in where:
        tag = measured.tags.get(one.field)
        if tag is None or (one.field == "operation" and one.operator == "=" and measured.without >= set(one.values)):
            return None
        if one.operator == "!=":
            conditions += [f"!{tag}:{value}" for value in one.values]
        elif len(one.values) == 1:
            conditions.append(f"{tag}:{one.values[0]}")
        else:
            together = " AND "
            conditions.append(f"{tag} IN ({','.join(one.values)})")
    grouped = f" by {{{','.join(measured.tags[name] for name in by)}}}" if by else ""
    text = f"{measured.space}:{measured.name}{{{together.join(conditions) or '*'}}}{grouped}"
    if measured.space in ("sum", "count"):
        text += ".as_count()"
        if panel.over_time and panel.every is not None:
            text += f".rollup(sum, {_ROLLUP[panel.every]})"
    return text
