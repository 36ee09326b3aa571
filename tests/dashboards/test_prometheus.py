"""A real Prometheus that scrapes a real application answers every panel and every variable, with data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
    text = re.sub(r"\$(job|tenant|feature|model)\b", ".*", text)
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
