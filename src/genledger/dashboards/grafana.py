"""Dashboards of Grafana in its classic JSON, which versions 9 to 13 import: on Prometheus, or on a ledger's file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from genledger.dashboards.panels import Dashboard, Panel, Place, places, question, unit_of, words
from genledger.dashboards.promql import PLACES, VARIABLES, expression, label_of
from genledger.dashboards.trace_attributes import ATTRIBUTES
from genledger.ledger.panel_sql import ALL, Shape, options, sql

SCHEMA_VERSION = 37
"""Of Grafana 9.3. Later versions read it, and bring it up to date."""

_PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
_SQLITE = {"type": "frser-sqlite-datasource", "uid": "${datasource}"}
_INTERVAL = {"hour": "1h", "day": "1d", None: "5m"}
_HOURS = {"24h": 24, "7d": 168}
_UNITS = {"USD": "currencyUSD", "s": "s", "1": "percentunit"}
_KINDS = {
    "bars": "timeseries",
    "shares": "timeseries",
    "lines": "timeseries",
    "table": "table",
    "ranking": "bargauge",
    "number": "stat",
}


class Variant(NamedTuple):
    """What a dashboard's panels ask.

    Attributes:
        name: At the end of file names and identifiers.
        source: The data source, in Grafana's words.
        variables: What a reader chooses, after the data sources.
        targets: The queries of a panel, and how their answers become one; none if it cannot be asked there.
        column: The name of a field's column or label.
    """

    name: str
    source: Mapping[str, str]
    variables: Sequence[Mapping[str, Any]]
    targets: Callable[[Panel], tuple[list[dict[str, Any]], list[dict[str, Any]]]]
    column: Callable[[str], str]


def build(dashboard: Dashboard, variant: Variant) -> dict[str, Any]:
    """Return a dashboard in Grafana's JSON. Panels that the data source cannot answer are left out."""
    answered = tuple(panel for panel in dashboard.panels if variant.targets(panel)[0])
    panels = [
        _panel(number, panel, place, variant)
        for number, (panel, place) in enumerate(zip(answered, places(answered), strict=True), start=1)
    ]
    return {
        "uid": f"genledger-{dashboard.name}-{variant.name}",
        "title": f"{dashboard.title} ({variant.name})",
        "description": dashboard.help,
        "tags": ["genledger", f"genledger-{variant.name}"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "utc",
        "time": {"from": f"now-{dashboard.period}", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Genledger",
                "tags": [f"genledger-{variant.name}"],
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "",
                "url": "",
            }
        ],
        "templating": {"list": [*_sources(variant), *variant.variables]},
        "panels": panels,
    }


def _sources(variant: Variant) -> list[dict[str, Any]]:
    kinds = {"datasource": ("Data source", variant.source["type"]), "traces": ("Traces", "tempo")}
    return [
        {"type": "datasource", "name": name, "label": label, "query": kind} for name, (label, kind) in kinds.items()
    ]


def _variable(name: str, source: Mapping[str, str], query: str, everything: str) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": words(name).capitalize(),
        "datasource": dict(source),
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": everything,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, panel: Panel, place: Place, variant: Variant) -> dict[str, Any]:
    targets, transformations = variant.targets(panel)
    found: dict[str, Any] = {
        "id": number,
        "type": _KINDS[panel.chart],
        "title": panel.title,
        "description": panel.help,
        "datasource": dict(variant.source),
        "gridPos": {"x": place.x, "y": place.y, "w": place.width, "h": place.height},
        "targets": targets,
        "fieldConfig": _fields(panel, variant),
        "options": _options(panel, variant),
    }
    if panel.over_time:
        found["interval"] = _INTERVAL[panel.every]
    if transformations:
        found["transformations"] = transformations
    return found


def _fields(panel: Panel, variant: Variant) -> dict[str, Any]:
    units = {metric: _UNITS.get(unit_of(metric), "short") for metric in panel.metrics}
    defaults: dict[str, Any] = {"unit": units[panel.metrics[0]], "custom": _drawn(panel)}
    if panel.chart == "table":
        defaults["unit"] = "short"
    if panel.chart in ("number", "ranking"):
        del defaults["custom"]
        defaults |= {"color": {"mode": "thresholds"}, "thresholds": _THRESHOLDS, "noValue": "none"}
    elif panel.chart != "table":
        defaults["color"] = {"mode": "palette-classic"}
        if variant.source is _SQLITE and panel.by:
            defaults["displayName"] = " ".join(f"${{__field.labels.{name}}}" for name in panel.by)
    if panel.metrics == ("budget_used",):
        defaults |= {"min": 0, "max": 1}
    if link := _link(panel, variant):
        defaults["links"] = [link]
    columns = dict.fromkeys([str(window) for window in panel.windows], units[panel.metrics[0]]) or units
    overrides = [
        {"matcher": {"id": "byName", "options": words(name)}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit in columns.items()
        if panel.chart == "table" and unit != "short"
    ]
    return {"defaults": defaults, "overrides": overrides}


_THRESHOLDS = {"mode": "absolute", "steps": [{"color": "blue", "value": None}]}


def _drawn(panel: Panel) -> dict[str, Any]:
    if panel.chart == "table":
        return {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False}
    if panel.chart == "lines":
        return {"drawStyle": "line", "lineWidth": 2, "showPoints": "auto", "spanNulls": False}
    return {
        "drawStyle": "bars",
        "barAlignment": 1,  # A bar stands for the time that begins where it is.
        "fillOpacity": 80,
        "lineWidth": 0,
        "stacking": {"mode": "percent" if panel.chart == "shares" else "normal", "group": "A"},
    }


def _options(panel: Panel, variant: Variant) -> dict[str, Any]:
    reduced = {
        "orientation": "horizontal" if panel.chart == "ranking" else "auto",
        "reduceOptions": {
            "calcs": ["lastNotNull"],
            "fields": "",
            "values": panel.chart == "ranking" and variant.source is _SQLITE,
        },
    }
    match panel.chart:
        case "table":
            first = panel.windows[-1] if panel.windows else words(panel.metrics[0])
            return {"frameIndex": 0, "showHeader": True, "sortBy": [{"displayName": first, "desc": True}]}
        case "ranking":
            return {
                **reduced,
                "displayMode": "basic",
                "valueMode": "text",
                "namePlacement": "left",
                "showUnfilled": True,
                "sizing": "auto",
                "minVizWidth": 8,
                "minVizHeight": 16,
                "maxVizHeight": 300,
                "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
            }
        case "number":
            return {
                **reduced,
                "colorMode": "value",
                "graphMode": "none",
                "justifyMode": "auto",
                "textMode": "value",
                "wideLayout": True,
                "percentChangeColorMode": "standard",
                "showPercentChange": False,
            }
    sums = panel.chart != "lines"
    return {
        "legend": {
            "showLegend": bool(panel.by or len(panel.metrics) > 1),
            "displayMode": "table",
            "placement": "right" if panel.width > 12 else "bottom",
            "calcs": ["sum" if sums else "lastNotNull"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _link(panel: Panel, variant: Variant) -> dict[str, Any] | None:
    """Return the link from a point or row to its traces. Exemplars have their own, from the data source."""
    table = panel.chart in ("table", "ranking")
    if panel.chart == "ranking" and variant.source is _PROMETHEUS:
        table = False

    def value(field: str) -> str:
        column = variant.column(field)
        return f"${{__data.fields.{column}}}" if table else f"${{__field.labels.{column}}}"

    if panel.by == ("trace",):
        query = value("trace")
    else:
        conditions = [f'span.{ATTRIBUTES[name]} = "{value(name)}"' for name in panel.by if name in ATTRIBUTES]
        if not conditions:
            return None
        query = f"{{ {' && '.join(conditions)} }}"
    source = {"type": "tempo", "uid": "${traces}"}
    explored = {
        "datasource": "${traces}",
        "queries": [{"refId": "A", "datasource": source, "queryType": "traceql", "query": query}],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    parts = re.split(r"(\$\{[^}]*\})", json.dumps(explored, separators=(",", ":")))
    left = "".join(part if part.startswith("${") else quote(part, safe="") for part in parts)
    return {"title": "Traces", "url": f"/explore?left={left}", "targetBlank": True}


def _asked_prometheus(panel: Panel) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    targets: list[dict[str, Any]] = []
    renamed: dict[str, str] = {}
    windows: dict[str, str] = {window: f"[{window}]" for window in panel.windows} or {"": "[$__range]"}
    for metric in panel.metrics:
        for column, window in windows.items():
            if panel.over_time:
                step = _INTERVAL[panel.every] if panel.every else "$__interval"
                window = f"[{step}] offset -{step}"
            asked = expression(panel, metric, window)
            if asked is None:
                continue
            reference = chr(ord("A") + len(targets))
            renamed[f"Value #{reference}"] = column or words(metric)
            legend = " ".join(f"{{{{{label_of(name)}}}}}" for name in panel.by) or words(metric)
            target: dict[str, Any] = {
                "refId": reference,
                "datasource": dict(_PROMETHEUS),
                "editorMode": "code",
                "expr": asked,
                "legendFormat": legend,
                "range": panel.over_time,
                "instant": not panel.over_time,
                "format": "table" if panel.chart == "table" else "time_series",
            }
            if panel.over_time:
                target |= {"interval": _INTERVAL[panel.every], "exemplar": True}
            targets.append(target)
    if panel.chart != "table":
        return targets, []
    if len(targets) == 1:
        (only,) = renamed.values()
        renamed = {"Value": only}
    named = {label_of(name): words(name) for name in panel.by} | renamed
    return targets, [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": named}},
    ]


def _asked_sqlite(panel: Panel) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    columns = {f"last_{window}": _HOURS[window] for window in panel.windows}
    text = sql(question(panel), Shape(panel.over_time, columns, panel.least_outcomes))
    if text is None:
        return [], []
    target = {
        "refId": "A",
        "datasource": dict(_SQLITE),
        "queryType": "time series" if panel.over_time else "table",
        "queryText": text,
        "rawQueryText": text,
        "timeColumns": ["time"] if panel.over_time else [],
    }
    named = {name: words(name) for name in (*panel.by, *panel.metrics)}
    named |= dict(zip(columns, panel.windows, strict=True))
    changed = {name: shown for name, shown in named.items() if name != shown}
    if panel.chart != "table" or not changed:
        return [target], []
    return [target], [{"id": "organize", "options": {"renameByName": changed}}]


def _prometheus_variables() -> list[dict[str, Any]]:
    """Each variable has the values that there are with those chosen before it."""
    found, matchers = [], ""
    for name in (*PLACES, *VARIABLES):
        chosen = f"{{{matchers}}}" if matchers else ""
        query = f"label_values(genledger_cost_USD_total{chosen}, {label_of(name)})"
        found.append(_variable(name, _PROMETHEUS, query, ".*"))
        if name in PLACES:
            matchers += f'{", " if matchers else ""}{name}=~"${name}"'
    return found


VARIANTS = (
    Variant(
        "prometheus",
        _PROMETHEUS,
        _prometheus_variables(),
        _asked_prometheus,
        label_of,
    ),
    Variant(
        "ledger",
        _SQLITE,
        [_variable(name, _SQLITE, options(name), ALL) for name in VARIABLES],
        _asked_sqlite,
        lambda field: field,
    ),
)
"""Prometheus, and a ledger's file through the plugin `frser-sqlite-datasource`."""
