"""The files of each target: what is exported, and what is committed under `dashboards/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from genledger.dashboards.catalog import DASHBOARDS
from genledger.dashboards.panels import Dashboard

Target = Literal["grafana", "datadog", "honeycomb", "langfuse"]

TARGETS: tuple[Target, ...] = get_args(Target)


def files(target: Target) -> dict[str, str]:
    """Return the files of a target: their text by their path below its folder."""
    return {
        path: json.dumps(built, indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
        for path, built in _BUILD[target](dashboard).items()
        if built is not None
    }


def _grafana(dashboard: Dashboard) -> dict[str, Any]:
    from genledger.dashboards.grafana import VARIANTS, build

    return {f"{variant.name}/{dashboard.name}.json": build(dashboard, variant) for variant in VARIANTS}


def _datadog(dashboard: Dashboard) -> dict[str, Any]:
    from genledger.dashboards.datadog import build

    return {f"{dashboard.name}.json": build(dashboard)}


def _honeycomb(dashboard: Dashboard) -> dict[str, Any]:
    from genledger.dashboards.honeycomb import build

    return {f"{dashboard.name}.json": build(dashboard)}


def _langfuse(dashboard: Dashboard) -> dict[str, Any]:
    from genledger.dashboards.langfuse_widgets import build

    return {f"{dashboard.name}.json": build(dashboard)}


_BUILD: Mapping[Target, Callable[[Dashboard], dict[str, Any]]] = {
    "grafana": _grafana,
    "datadog": _datadog,
    "honeycomb": _honeycomb,
    "langfuse": _langfuse,
}
