from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.budgets.rules.units import MAX_UNITS, from_units, show, to_units, usd_units


@given(st.integers(min_value=0, max_value=MAX_UNITS))
def test_a_limit_written_as_a_decimal_is_counted_exactly(units: int) -> None:
    assert to_units("usd", Decimal(units).scaleb(-9)) == units


@given(st.lists(st.floats(min_value=0, max_value=1000), max_size=50))
def test_adding_costs_one_by_one_is_off_by_at_most_half_a_unit_each(costs: list[float]) -> None:
    exact = sum((Decimal(cost) for cost in costs), Decimal()) * 10**9
    assert abs(sum(map(usd_units, costs)) - exact) <= Decimal("0.50001") * len(costs)


def test_a_negative_cost_counts_as_nothing() -> None:
    assert usd_units(-0.5) == 0


@pytest.mark.parametrize(
    ("measure", "number", "problem"),
    [
        ("usd", -1, "must not be negative"),
        ("usd", Decimal("0.0000000001"), "more than 9 decimals"),
        ("usd", 10_000_000, "more than the 9,007,199"),
        ("tokens", 1.5, "must be a whole number"),
        ("usd", float("nan"), "must not be negative"),
    ],
)
def test_a_limit_that_cannot_be_counted_is_refused_with_the_reason(measure: str, number: float, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        to_units(measure, number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measure", "units", "text"),
    [
        ("usd", 1_500_000_000, "$1.50"),
        ("usd", 1_234_000, "$0.001234"),
        ("usd", 0, "$0.00"),
        ("tokens", 12_000, "12,000 tokens"),
        ("depth", 3, "depth 3"),
    ],
)
def test_amounts_are_shown_in_their_own_unit(measure: str, units: int, text: str) -> None:
    assert show(measure, units) == text  # type: ignore[arg-type]


def test_units_come_back_as_the_number_that_was_written() -> None:
    assert from_units("usd", to_units("usd", Decimal("12.345678901"))) == 12.345678901
    assert from_units("requests", 60) == 60


@pytest.mark.parametrize(
    ("units", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000000001"),
        (400, "$0.0000004"),
        (802_000, "$0.000802"),
        (1_500_000_000, "$1.50"),
        (1_234_567_890_123, "$1,234.57"),
    ],
)
def test_money_in_a_message_is_a_whole_number_of_dollars_and_decimals(units: int, text: str) -> None:
    assert show("usd", units) == text


@given(st.integers(min_value=1, max_value=MAX_UNITS))
def test_money_that_is_not_zero_never_reads_as_zero_in_a_message(units: int) -> None:
    text = show("usd", units)
    assert text[-1].isdecimal()
    assert Decimal(text.lstrip("$").replace(",", "")) == pytest.approx(Decimal(units).scaleb(-9), abs=Decimal("0.005"))
    assert any(digit in "123456789" for digit in text)
