"""What a dashboard is: panels that each ask one question, in the words of `genledger query`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from genledger.ledger.fields import METRICS
from genledger.ledger.grains import Grain
from genledger.ledger.query import Filter, Query

Chart = Literal["bars", "shares", "lines", "table", "ranking", "number"]
"""`bars` are stacked over time, `shares` are bars that add up to 100 %, a `ranking` has one bar for each group."""

Window = Literal["24h", "7d"]
"""The last hours or days, whatever period the dashboard shows."""


class Signal(NamedTuple):
    """What telemetry measures beside the calls, so that the ledger cannot be asked for it.

    Attributes:
        unit: As in `genledger.ledger.fields.Metric`.
        help: What it is.
    """

    unit: str
    help: str


SIGNALS: Mapping[str, Signal] = {
    "budget_used": Signal("1", "settled share of the limit in the budget's window"),
    "budget_reserved": Signal("", "what calls under way hold, in what the rule counts"),
    "budget_blocks": Signal("calls", "calls that a budget refused"),
    "budget_store_failures": Signal("requests", "requests that the budget store did not answer"),
    "records_dropped": Signal("records", "records that a destination gave up"),
    "labels_overflow": Signal("values", "values counted under `other`, because a label had too many"),
    "retrieval_results": Signal("results", "mean number of results of a search"),
    "retrieval_distance": Signal("", "mean distance of a search's results"),
    "score": Signal("", "mean of an evaluation's score"),
}
"""Metrics that only telemetry has."""

MORE_FIELDS = frozenset(
    {
        "budget_rule",
        "budget_scope",
        "currency",
        "destination",
        "drop_reason",
        "label_name",
        "outcome_name",
        "score_name",
    }
)
"""What panels can be grouped by, beside the fields of calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A question, and how its answer is drawn.

    Attributes:
        title: At most 60 characters.
        help: What the panel shows, and what to do about it, in one or two sentences.
        chart: How it is drawn.
        metrics: Names of `genledger.ledger.fields.METRICS` or `SIGNALS`; all of one unit, unless it is a table.
        by: Fields that the answer is grouped by.
        every: The grain of time of bars and lines; `None` for what suits the period that is shown.
        where: Conditions, all of which hold.
        windows: Columns of a table: the metric over each of them.
        top: The largest groups that are shown; 0 for all.
        least_outcomes: Groups with fewer outcomes are left out: their ratios are noise.
        width: Of 24 columns.
    """

    title: str
    help: str
    chart: Chart
    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    every: Grain | None = None
    where: tuple[Filter, ...] = ()
    windows: tuple[Window, ...] = ()
    top: int = 0
    least_outcomes: int = 0
    width: int = 12

    @property
    def over_time(self) -> bool:
        """Whether time is one of its axes."""
        return self.chart in ("bars", "shares", "lines")

    @property
    def height(self) -> int:
        """Rows of the grid that it takes."""
        return 4 if self.chart == "number" else 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Panels about one subject.

    Attributes:
        name: Of its files.
        title: As people see it.
        help: The question that it answers, in one sentence.
        panels: In reading order; a row is full at 24 columns.
        period: What it shows at first.
    """

    name: str
    title: str
    help: str
    panels: tuple[Panel, ...]
    period: Literal["24h", "7d", "30d"] = "30d"


class Place(NamedTuple):
    """A panel's rectangle in a grid of 24 columns."""

    x: int
    y: int
    width: int
    height: int


def places(panels: tuple[Panel, ...]) -> list[Place]:
    """Return where panels are, row by row."""
    found: list[Place] = []
    x = y = row = 0
    for panel in panels:
        if x + panel.width > 24:
            x, y, row = 0, y + row, 0
        found.append(Place(x, y, panel.width, panel.height))
        x, row = x + panel.width, max(row, panel.height)
    return found


def unit_of(metric: str) -> str:
    """Return the unit of a metric: `USD`, `s`, `1` for a share, what is counted, or nothing."""
    return SIGNALS[metric].unit if metric in SIGNALS else METRICS[metric].unit


def words(name: str) -> str:
    """Return the name of a metric or field as people read it."""
    return name.replace("_", " ")


def question(panel: Panel) -> Query:
    """Return what a panel asks, as `genledger query` does; without a period."""
    return Query(metrics=panel.metrics, by=panel.by, every=panel.every, where=panel.where, limit=panel.top)
