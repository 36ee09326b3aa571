"""The committed files are what the description builds, and the description is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genledger.dashboards.board_files import TARGETS, Target, files
from genledger.dashboards.catalog import DASHBOARDS
from genledger.dashboards.panels import MORE_FIELDS, SIGNALS, Dashboard, Panel, places, unit_of
from genledger.ledger.fields import FIELDS, METRICS

COMMITTED = Path(__file__).parents[3] / "dashboards"
BUILT = {target: {name: json.loads(text) for name, text in files(target).items()} for target in TARGETS}

Titled = tuple[Dashboard, Panel]
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]

ONLY_IN = {
    # Prometheus and Datadog have neither traces, users, nor attempts; the ledger no telemetry about itself.
    "Dearest traces": {"grafana/ledger", "honeycomb"},
    "Top users": {"grafana/ledger", "honeycomb"},
    "Retries": {"grafana/ledger", "honeycomb"},
    "Cost of retried calls": {"grafana/ledger", "honeycomb"},
    "Retries by feature": {"grafana/ledger", "honeycomb"},
    "Records that were dropped": {"grafana/prometheus", "datadog"},
    "Used share of each budget": {"grafana/prometheus", "datadog"},
    "Budgets that are used most": {"grafana/prometheus", "datadog"},
    "Refused calls": {"grafana/prometheus", "datadog"},
    "Reserved by calls under way": {"grafana/prometheus", "datadog"},
    "Failures of the budget store": {"grafana/prometheus", "datadog"},
    "Values counted under `other`": {"grafana/prometheus", "datadog"},
    "Results per search": {"honeycomb"},
    "Distance of results": {"honeycomb"},
    "Scores of evaluations": {"honeycomb", "langfuse"},
    # Honeycomb has no ratio of two kinds of events.
    "Cost per outcome": {"grafana/prometheus", "grafana/ledger", "datadog"},
    "Tokens per outcome": {"grafana/prometheus", "grafana/ledger", "datadog"},
    "Cost per outcome by prompt version": {"grafana/prometheus", "grafana/ledger", "datadog"},
    "Cost per outcome by release": {"grafana/prometheus", "grafana/ledger", "datadog"},
}
"""Panels that not every target answers, apart from Langfuse, which has no ratios and few dimensions."""


def titles(built: dict[str, Any]) -> Iterator[str]:
    for widget in built.get("widgets", ()):
        yield widget["name"] if "name" in widget else widget["definition"]["title"]
    for panel in built.get("panels", ()):
        yield panel.get("title") or panel["name"]


def shown_by(target: str, folder: str = "") -> set[str]:
    return {
        re.sub(r": (24h|7d)$", "", title)
        for name, built in BUILT[target].items()  # type: ignore[index]
        if name.startswith(folder)
        for title in titles(built)
    }


@pytest.mark.parametrize("target", TARGETS)
def test_the_committed_files_are_what_the_description_builds(target: Target) -> None:
    folder = COMMITTED / target
    committed = {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.json")}
    assert committed == files(target), f"run `genledger dashboards export {target}` in the repository"


@pytest.mark.parametrize(
    ("target", "folder"),
    [("grafana", "prometheus"), ("grafana", "ledger"), ("datadog", ""), ("honeycomb", "")],
)
def test_a_panel_is_missing_only_where_it_cannot_be_answered(target: str, folder: str) -> None:
    name = f"{target}/{folder}" if folder else target
    wanted = {panel.title for _, panel in PANELS if name in ONLY_IN.get(panel.title, {name})}
    assert shown_by(target, folder) == wanted


def test_langfuse_shows_what_it_has_measures_and_dimensions_for() -> None:
    assert {"Cost by feature", "Cost by model", "Outcomes", "Scores of evaluations", "Tokens"} <= shown_by("langfuse")


@pytest.mark.parametrize(("dashboard", "panel"), PANELS, ids=lambda one: getattr(one, "title", one))
def test_a_panel_is_described(dashboard: Dashboard, panel: Panel) -> None:
    assert len(panel.title) <= 60
    assert panel.help.endswith(".")
    assert all(name in METRICS or name in SIGNALS for name in panel.metrics)
    assert {*panel.by} <= {*FIELDS, *MORE_FIELDS}
    assert panel.chart == "table" or len({unit_of(name) for name in panel.metrics}) == 1
    assert panel.every is None or panel.over_time
    assert not (panel.top and panel.over_time) or len(panel.by) == 1


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.name)
def test_panels_fill_rows_and_do_not_overlap(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for place in places(dashboard.panels):
        cells = {(x, y) for x in range(place.x, place.x + place.width) for y in range(place.y, place.y + place.height)}
        assert place.x + place.width <= 24
        assert not taken & cells
        taken |= cells


@pytest.mark.parametrize("name", BUILT["grafana"])
def test_a_grafana_dashboard_names_its_variables_and_leads_to_the_others(name: str) -> None:
    built = BUILT["grafana"][name]
    variables = [one["name"] for one in built["templating"]["list"]]
    assert variables[:2] == ["datasource", "traces"]
    assert variables[-3:] == ["tenant", "feature", "model"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps([panel["targets"] for panel in built["panels"]])))
    assert used - {"__range", "__interval", "__interval_ms", "__from", "__to"} <= set(variables)
    (link,) = built["links"]
    assert link["includeVars"]
    assert link["keepTime"]
    assert set(link["tags"]) <= set(built["tags"])


def test_a_point_of_a_feature_leads_to_its_traces() -> None:
    (panel,) = [one for one in BUILT["grafana"]["prometheus/spend.json"]["panels"] if one["title"] == "Cost by feature"]
    (link,) = panel["fieldConfig"]["defaults"]["links"]
    assert "span.genledger.feature" in link["url"]
    assert "${__field.labels.genledger_feature}" in link["url"]
    assert all(target["exemplar"] for target in panel["targets"])


def test_a_day_stands_at_its_beginning() -> None:
    (panel,) = [one for one in BUILT["grafana"]["prometheus/spend.json"]["panels"] if one["title"] == "Cost by feature"]
    (target,) = panel["targets"]
    assert target["expr"].endswith("[1d] offset -1d))")
    assert target["interval"] == panel["interval"] == "1d"
    assert panel["fieldConfig"]["defaults"]["custom"]["barAlignment"] == 1


def test_ids_are_unique() -> None:
    ids = [built["uid"] for built in BUILT["grafana"].values()]
    assert len(set(ids)) == len(ids) == 2 * len(DASHBOARDS)
    assert all(len(one) <= 40 for one in ids)
