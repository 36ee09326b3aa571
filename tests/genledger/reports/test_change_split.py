"""The causes of a change: they add up to it, and each is found where it is alone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger.ledger.weeks import WHOLE, Composition
from genledger.reports.change_split import CAUSES, split

BUCKETS = ("input", "cache_read", "cache_write", "output", "reasoning", "image", WHOLE)


def cost_of(week: dict[str, Composition]) -> float:
    return sum(cost for one in week.values() for _, cost in one.parts.values())


def a_week(
    calls: int = 100,
    *,
    mini: int = 0,
    unpriced: int = 0,
    fresh: float = 800,
    cached: float = 200,
    output: float = 100,
    price: float = 1.0,
) -> dict[str, Composition]:
    """A week of one model, and of a second one at a tenth of its prices; tokens are per call."""

    def model(priced: int, rate: float, unpriced: int = 0) -> Composition:
        parts = {
            "input": (priced * fresh, priced * fresh * 1e-4 * rate),
            "cache_read": (priced * cached, priced * cached * 1e-5 * rate),
            "output": (priced * output, priced * output * 1e-3 * rate),
        }
        return Composition(priced + unpriced, priced, {name: part for name, part in parts.items() if part[0]})

    return {"large": model(calls, price, unpriced), **({"mini": model(mini, price / 10)} if mini else {})}


def parts(priced: int, each: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Quantities and costs, from those of one call: its quantity, and the price of one."""
    return {name: (priced * quantity, priced * quantity * rate) for name, (quantity, rate) in each.items() if priced}


compositions = st.builds(
    lambda priced, unpriced, each: Composition(priced + unpriced, priced, parts(priced, each)),
    st.integers(0, 10**6),
    st.integers(0, 1000),
    st.dictionaries(st.sampled_from(BUCKETS), st.tuples(st.floats(0.1, 1e5), st.floats(0, 1e-3)), max_size=5),
)
a_random_week = st.dictionaries(st.sampled_from(("a", "b", "c")), compositions, max_size=3)


@given(a_random_week, a_random_week)
@settings(max_examples=100, deadline=None)
def test_the_causes_add_up_to_the_change_to_the_cent(
    now: dict[str, Composition], before: dict[str, Composition]
) -> None:
    cost, cost_before = cost_of(now), cost_of(before)
    found = split(now, before, cost, cost_before)
    causes = [Decimal(repr(amount)) for amount in found.causes.values()]
    printed = Decimal(f"{cost:.{found.digits}f}") - Decimal(f"{cost_before:.{found.digits}f}")
    assert found.digits >= 2
    assert sum(causes) == Decimal(repr(found.change)) == printed
    assert tuple(found.causes) == CAUSES


@given(a_random_week)
@settings(max_examples=30, deadline=None)
def test_a_week_like_the_one_before_has_no_cause(week: dict[str, Composition]) -> None:
    found = split(week, week, cost_of(week), cost_of(week))
    assert not any(found.causes.values())


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        (a_week(130), "volume"),
        (a_week(output=200), "tokens per call"),
        (a_week(fresh=1600, cached=400), "tokens per call"),
        (a_week(price=1.5), "price"),
        (a_week(fresh=1000, cached=0), "cache share"),
    ],
)
def test_what_changes_alone_is_the_only_cause(now: dict[str, Composition], cause: str) -> None:
    before = a_week()
    found = split(now, before, cost_of(now), cost_of(before))
    assert {name for name, amount in found.causes.items() if amount} == {cause}
    assert found.causes[cause] == pytest.approx(cost_of(now) - cost_of(before), abs=0.01)


def test_calls_that_move_to_a_dearer_model_are_model_mix() -> None:
    before, now = a_week(50, mini=50), a_week(80, mini=20)
    found = split(now, before, cost_of(now), cost_of(before))
    assert {name for name, amount in found.causes.items() if amount} == {"model mix"}


def test_a_model_that_replaces_another_is_model_mix() -> None:
    before, now = {"old": a_week()["large"]}, {"new": a_week(price=2)["large"]}
    found = split(now, before, cost_of(now), cost_of(before))
    assert {name for name, amount in found.causes.items() if amount} == {"model mix"}


def test_prices_that_become_known_are_no_volume() -> None:
    before, now = a_week(50, unpriced=50), a_week(100)
    found = split(now, before, cost_of(now), cost_of(before))
    assert {name for name, amount in found.causes.items() if amount} == {"priced share"}


def test_two_causes_share_what_they_make_together() -> None:
    before, now = a_week(100), a_week(200, price=2)
    found = split(now, before, cost_of(now), cost_of(before))
    assert found.causes["volume"] == pytest.approx(found.causes["price"], abs=0.01)
    assert found.causes["volume"] == pytest.approx(1.5 * cost_of(before), abs=0.01)
