"""Unit economics: ratios of sums with honest intervals, and waste that is counted once."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.ledger.weeks import Ended, LostAttempts
from genledger.pricing.cost import Part
from genledger.reports.unit_economics import (
    altogether,
    cost_of_lost_attempts,
    cost_per_success,
    interval,
    margin,
    wasted,
)


def clusters(seed: int, n: int, share: float = 0.4, spread: float = 1.0) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [(chance.lognormvariate(0, spread), float(chance.random() < share)) for _ in range(n)]


@pytest.mark.parametrize("n", [150, 1000])
def test_the_interval_has_the_truth_in_it_as_often_as_it_claims(n: int) -> None:
    truth = math.exp(0.5) / 0.4
    ends = [interval(clusters(seed, n)) for seed in range(100)]
    assert sum(low is not None and high is not None and low <= truth <= high for low, high in ends) >= 93


def test_the_interval_gets_narrower_with_more_sessions() -> None:
    few, many = interval(clusters(1, 60)), interval(clusters(1, 6000))
    assert few != (None, None) != many
    assert many[1] / many[0] < 0.5 * few[1] / few[0]  # type: ignore[operator]


def test_the_same_ledger_gives_the_same_interval() -> None:
    assert interval(clusters(3, 500)) == interval(clusters(3, 500))


def test_a_ratio_is_of_sums_and_not_a_mean_of_ratios() -> None:
    found = cost_per_success("draft_accepted", [(9.0, 1.0), (1.0, 4.0), (5.0, 0.0)])
    assert (found.cost, found.successes, found.each) == (15.0, 5, 3.0)


def test_too_few_successes_have_no_interval() -> None:
    found = cost_per_success("draft_accepted", [(1.0, 1.0)] * 12 + [(1.0, 0.0)] * 100)
    assert (found.successes, found.low, found.high) == (12, None, None)


def test_nothing_succeeded_is_no_number() -> None:
    assert cost_per_success("draft_accepted", [(1.0, 0.0)] * 50).each is None


features = st.sampled_from(("copilot", "search", None))
amounts = st.floats(0, 1e4)
calls = st.tuples(features, st.sampled_from(("failed", "cancelled", "answered")), st.booleans(), amounts)


@given(
    st.lists(calls, max_size=12),
    st.lists(st.tuples(features, st.booleans(), amounts, st.integers(1, 5)), max_size=5),
    st.frozensets(features),
)
def test_waste_is_never_more_than_spend(
    rows: list[tuple[str | None, str, bool, float]],
    retried: list[tuple[str | None, bool, float, int]],
    judged: frozenset[str | None],
) -> None:
    ended = [Ended(feature, ending, won, 1, cost) for feature, ending, won, cost in rows]  # type: ignore[arg-type]
    ended += [Ended(feature, "answered", won, 1, cost) for feature, won, cost, _ in retried]
    lost = [LostAttempts(feature, won, cost, (), attempts) for feature, won, cost, attempts in retried]
    found = wasted(ended, lost, {}, judged)
    whole = altogether(found)
    for row in (*found, whole):
        parts = (row.failed, row.cancelled, row.retries, row.unsuccessful or 0.0)
        assert all(part >= 0 for part in parts)
        assert row.total <= row.spend
        assert math.fsum(parts) <= row.spend * (1 + 1e-9) + 1e-9
    assert whole.spend == pytest.approx(math.fsum(one.cost for one in ended))


def test_a_dollar_is_wasted_once() -> None:
    found = wasted(
        [
            Ended("copilot", "failed", False, 1, 1.0),  # failed, in a trace without a success
            Ended("copilot", "cancelled", True, 1, 2.0),
            Ended("copilot", "answered", False, 1, 10.0),
            Ended("copilot", "answered", True, 1, 100.0),
        ],
        [LostAttempts("copilot", False, 10.0, (), 1)],
        {"copilot": (3, 4)},
        frozenset({"copilot"}),
    )
    (row,) = found
    assert (row.failed, row.cancelled, row.retries, row.unsuccessful) == (1.0, 2.0, 5.0, 5.0)
    assert (row.total, row.spend, row.traces, row.traces_won) == (13.0, 113.0, 4, 3)


def test_a_feature_without_outcomes_is_not_judged_by_them() -> None:
    (row,) = wasted([Ended("indexer", "answered", False, 3, 7.0)], [], {"indexer": (0, 3)}, frozenset())
    assert (row.unsuccessful, row.total, row.traces) == (None, 0.0, 0)


def test_the_cost_of_lost_attempts_is_what_comes_after_the_answer() -> None:
    answer = (Part("input", 100, 0.01, 1.0), Part("output", 10, 0.1, 1.0))
    lost = (Part("input", 200, 0.01, 2.0), Part("output", 50, 0.1, 5.0))
    assert cost_of_lost_attempts(9.0, (*answer, *lost), 2) == 7.0
    assert cost_of_lost_attempts(9.0, (), 2) == 6.0


def test_a_margin_is_in_dollars_or_unknown() -> None:
    whole = margin("acme", {"USD": 50.0}, 20.0)
    assert (whole.margin, whole.share) == (30.0, 0.6)
    mixed = margin("acme", {"USD": 50.0, "EUR": 1.0}, 20.0)
    assert (mixed.margin, mixed.share) == (None, None)
