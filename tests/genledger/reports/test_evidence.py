"""Growth that is marked is real: seldom marked without any, mostly marked where it is large."""

from __future__ import annotations

import math
import random

from genledger.reports.evidence import least_growth

WEEKDAYS = (1.0, 1.0, 1.0, 1.0, 1.0, 0.25, 0.25)


def a_week(chance: random.Random, calls: float, factor: float = 1.0) -> tuple[list[float], list[float]]:
    """The costs of a week's traces, and of its days: log-normal, with quiet weekends and days that differ."""
    traces: list[float] = []
    days: list[float] = []
    for weekday in WEEKDAYS:
        expected = calls * weekday * factor * max(0.1, chance.gauss(1, 0.25))
        number = max(0, round(chance.gauss(expected, math.sqrt(expected))))
        costs = [chance.lognormvariate(0, 1) for _ in range(number)]
        traces += costs
        days.append(math.fsum(costs))
    return traces, days


def marked(calls: float, factor: float, weeks: int = 100) -> tuple[int, int]:
    """How many of these weeks grew by more than 20 %, and how many of them surely by more than 5 %."""
    grown = sure = 0
    for seed in range(weeks):
        chance = random.Random(seed)
        before, days_before = a_week(chance, calls)
        now, days = a_week(chance, calls, factor)
        if before and math.fsum(now) > 1.2 * math.fsum(before):
            grown += 1
            sure += least_growth(now, before, list(zip(days, days_before, strict=True))) > 1.05
    return grown, sure


def test_weeks_that_differ_by_chance_are_not_marked() -> None:
    for calls in (10, 50):
        grown, sure = marked(calls, 1.0)
        assert grown >= 15
        assert sure <= 4


def test_a_tenant_that_doubled_is_marked() -> None:
    assert marked(200, 2.0)[1] >= 80


def test_nothing_is_sure_of_one_day_or_of_nothing() -> None:
    assert least_growth([5.0] * 50, [1.0] * 50, [(250.0, 50.0)]) == 0
    assert least_growth([1.0], [], [(1.0, 0.0)] * 7) == 0


def test_calls_of_one_session_are_one_piece_of_evidence() -> None:
    days = [(20.0, 10.0)] * 7
    assert least_growth([1.4] * 100, [0.7] * 100, days) > 1.4
    assert least_growth([140.0], [70.0], days) < 1
