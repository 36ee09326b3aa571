"""A real Prometheus that scrapes a real application answers every panel and every variable, with data."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genledger.ledger import Ledger
from genledger.ledger.query import Query, ask

from .running import Prometheus, scraping

COMMITTED = Path(__file__).parents[2] / "dashboards" / "grafana" / "prometheus"
BUILT = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(COMMITTED.glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}") for name, built in BUILT.items() for panel in built["panels"]
]
STEPS_S = {"1h": 3_600, "1d": 86_400, "5m": 5}
"""Days and hours as a panel asks for them. The others in short steps: the application has not run for long."""

ONLY_ZEROS = {"Failures of the budget store"}
"""What an application whose store answers has none of."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(tmp_path_factory.mktemp("prometheus")) as running:
        yield running


def filled_in(text: str) -> str:
    """A query as Grafana sends it when a reader has chosen nothing."""
    for name, value in (("__range", "1800s"), ("__interval", "5m")):
        text = text.replace(f"${name}", value)
    text = re.sub(r"\$(cluster|job|tenant|feature|model)\b", ".*", text)
    assert "$" not in text
    return text


def values(result: list[Any]) -> list[float]:
    return [float(value) for one in result for _, value in (one.get("values") or [one["value"]])]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_something_to_show(panel: dict[str, Any], prometheus: Prometheus) -> None:
    for target in panel["targets"]:
        query = filled_in(target["expr"])
        found = (
            prometheus.over_time(query, STEPS_S[panel["interval"]]) if target["range"] else prometheus.instant(query)
        )
        assert found, query
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert all(set(one["metric"]) <= shown for one in found), query
        known = [value for value in values(found) if value == value]
        assert known, query
        assert panel["title"] in ONLY_ZEROS or any(known), query


@pytest.mark.parametrize("variable", BUILT["spend"]["templating"]["list"][2:], ids=lambda one: one["name"])
def test_a_variable_has_values(variable: dict[str, Any], prometheus: Prometheus) -> None:
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
    assert found is not None
    assert prometheus.get(f"label/{found[2]}/values", **{"match[]": filled_in(found[1])})


COUNTED = {
    "cost": "genledger_cost_USD_total",
    "unpriced": "genledger_unpriced_calls_total",
    "calls": '{__name__=~"gen_ai_client_(inference|operation)_duration_seconds_count"}'
    ' or db_client_operation_duration_seconds_count{db_operation_name!="query"}',
    "errors": '{__name__=~"gen_ai_client_(inference|operation)_duration_seconds_count", '
    'genledger_outcome=~"error|timeout|rate_limited"}',
    "input_tokens": "gen_ai_client_inference_usage_input_tokens_total or genledger_embeddings_tokens_total",
    "outcomes": "genledger_outcomes_total",
    "output_tokens": "gen_ai_client_inference_usage_output_tokens_total",
    "cached_tokens": "gen_ai_client_inference_usage_cache_read_input_tokens_total",
}
"""Metrics of the ledger, and the series that have the same."""


def counted(prometheus: Prometheus) -> dict[str, dict[str, float]]:
    return {
        name: {
            one["metric"].get("genledger_feature", ""): float(one["value"][1])
            for one in prometheus.instant(f"sum by (genledger_feature) ({series})")
        }
        for name, series in COUNTED.items()
    }


def test_the_metrics_add_up_to_what_the_ledger_has(prometheus: Prometheus) -> None:
    prometheus.finish()
    with Ledger(prometheus.ledger).reading() as connection:
        rows = ask(connection, Query(metrics=tuple(COUNTED), by=("feature",))).rows
    wanted = {name: {row["feature"]: pytest.approx(row[name]) for row in rows if row[name]} for name in COUNTED}
    deadline = time.monotonic() + 60
    while (found := counted(prometheus)) != wanted and time.monotonic() < deadline:
        time.sleep(0.2)  # until the last scrape
    assert found == wanted
