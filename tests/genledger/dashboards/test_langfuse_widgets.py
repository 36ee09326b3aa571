"""Widgets of Langfuse are what its SDK's models take, with the measures and dimensions that its API documents."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from genledger.dashboards.board_files import files

pytest.importorskip("langfuse.api.unstable.dashboard_widgets")

from langfuse.api.core.pydantic_utilities import parse_obj_as
from langfuse.api.metrics.client import MetricsClient
from langfuse.api.unstable.dashboard_widgets.types.create_dashboard_widget_request import CreateDashboardWidgetRequest

BUILT = {name: json.loads(text) for name, text in files("langfuse").items()}
WIDGETS = [
    pytest.param(widget, id=f"{name}: {widget['name']}") for name, built in BUILT.items() for widget in built["widgets"]
]
OPERATORS = {
    "stringOptions": {"any of", "none of"},
    "arrayOptions": {"any of", "none of", "all of"},
}


def documented() -> Iterator[tuple[str, str]]:
    """Each view, and the names of what it has."""
    text = MetricsClient.metrics.__doc__ or ""
    for section in re.split(r"^\s*### ", text, flags=re.MULTILINE)[1:]:
        view = section.split()[0]
        for name in re.findall(r"^\s*- `(\w+)` - ", section.partition("## High")[0], re.MULTILINE):
            yield view, name


KNOWN = set(documented())


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_widget_is_one_that_the_api_takes(widget: dict[str, Any]) -> None:
    read: Any = parse_obj_as(CreateDashboardWidgetRequest, widget)
    assert (read.view.value, read.chart_type.value) == (widget["view"], widget["chartType"])
    assert [one.agg.value for one in read.metrics] == [one["agg"] for one in widget["metrics"]]
    assert not read.model_extra
    view = widget["view"]
    names = [one["field"] for one in widget["dimensions"]] + [one["measure"] for one in widget["metrics"]]
    assert {(view, name) for name in names} <= KNOWN
    for condition in widget["filters"]:
        assert condition["operator"] in OPERATORS[condition["type"]]
        assert (view, condition["column"]) in KNOWN


@pytest.mark.parametrize("name", BUILT)
def test_every_widget_has_a_place(name: str) -> None:
    built = BUILT[name]
    assert [place["widget"] for place in built["placements"]] == list(range(len(built["widgets"])))
    assert all(place["x"] + place["width"] <= 12 for place in built["placements"])
