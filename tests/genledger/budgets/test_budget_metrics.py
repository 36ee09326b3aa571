from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, budget
from genledger.budgets.budget_metrics import MAX_SERIES, observe_budgets

MakeDemand = Callable[..., BudgetRequest]


def read(reader: InMemoryMetricReader) -> dict[str, dict[tuple[Any, ...], float]]:
    data = reader.get_metrics_data()
    assert data is not None
    points: dict[str, list[Any]] = {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    labels = ("genledger.budget.rule", "genledger.budget.scope")
    return {
        name: {tuple(point.attributes.get(label) for label in labels): point.value for point in found}
        for name, found in points.items()
    }


def test_used_share_reservations_and_blocks_are_measured(make_guard: Callable[..., Guard], demand: MakeDemand) -> None:
    reader = InMemoryMetricReader()
    guard = make_guard([budget(name="b", tenant="each", usd=10, per="month")], "memory")
    observe_budgets(MeterProvider([reader]).get_meter("test"), lambda: guard)
    guard.admit(demand(2.5)).settle(2.5, 1)
    guard.admit(demand(4.0))
    assert guard.flush(60)
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            guard.admit(demand(9.0))
    measured = read(reader)
    acme = ("b", "tenant=acme")
    assert measured["genledger.budget.used"] == {acme: 0.25}
    assert 4.0 <= measured["genledger.budget.reserved"][acme] <= 7.5
    assert measured["genledger.budget.blocks"] == {acme: 2}
    assert measured["genledger.budget.store.failures"] == {(None, None): 0}


def test_each_reading_is_of_the_guard_in_use(make_guard: Callable[..., Guard], demand: MakeDemand) -> None:
    reader = InMemoryMetricReader()
    in_use: list[Guard] = []
    meter = MeterProvider([reader]).get_meter("test")
    observe_budgets(meter, lambda: in_use[-1] if in_use else None)
    assert reader.get_metrics_data() is None
    for usd in (2.5, 5.0):
        in_use.append(make_guard([budget(name="b", tenant="each", usd=10, per="month")], "memory"))
        observe_budgets(meter, lambda: in_use[-1])
        in_use[-1].admit(demand(usd)).settle(usd, 1)
        assert in_use[-1].flush(60)
        assert read(reader)["genledger.budget.used"] == {("b", "tenant=acme"): usd / 10}


def test_labels_are_bounded(make_guard: Callable[..., Guard], demand: MakeDemand) -> None:
    reader = InMemoryMetricReader()
    guard = make_guard([budget(name="b", tenant="each", requests=0, per="month")], "memory")
    observe_budgets(MeterProvider([reader]).get_meter("test"), lambda: guard)
    for number in range(MAX_SERIES + 5):
        with pytest.raises(BudgetExceeded):
            guard.admit(demand(tenant=f"t{number}"))
    blocks = read(reader)["genledger.budget.blocks"]
    assert len(blocks) == MAX_SERIES + 1
    assert blocks["b", "other"] == 5
