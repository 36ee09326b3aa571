from __future__ import annotations

import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.reports import baselines
from genledger.reports.baselines import Expected, expected_day, ratio_interval, ratio_of_sums, share_interval

MONDAY, SATURDAY = 0, 5
BUSY = [50.0] * 35

amounts = st.floats(0.01, 1e6)


def weeks(count: int, weekday: float, weekend: float) -> list[float]:
    """Days from a Monday on."""
    return [weekend if day % 7 > 4 else weekday for day in range(7 * count)]


def test_a_steady_tenant_is_expected_to_stay_as_it_is() -> None:
    expected = expected_day([20.0] * 35, BUSY, MONDAY)
    assert expected is not None
    assert (expected.value, expected.n) == (pytest.approx(20.0), 35)
    assert expected.spread == baselines.LEAST_SPREAD
    assert expected.low == pytest.approx(20 * math.exp(-1.96 * 0.15), rel=1e-3)


def test_a_saturday_is_expected_to_be_a_saturday() -> None:
    days = weeks(5, 40.0, 4.0)
    assert expected_day(days, BUSY, MONDAY).value == pytest.approx(40.0)  # type: ignore[union-attr]
    saturday = expected_day(days[:-2], BUSY[:-2], SATURDAY)
    assert saturday is not None
    assert saturday.value == pytest.approx(4.0, rel=0.05)
    # Three times as much on a Saturday is out of the ordinary, though far below a weekday's mean.
    assert 12.0 > saturday.limit(2.0, 5.0) > 8.0
    assert sum(days[-9:-2]) / 7 > 12.0


def test_growth_of_three_percent_a_day_is_followed() -> None:
    days = [10 * 1.03**day for day in range(35)]
    expected = expected_day(days, BUSY, MONDAY)
    assert expected is not None
    assert expected.value == pytest.approx(10 * 1.03**35, rel=0.03)
    assert expected.spread == baselines.LEAST_SPREAD  # a trend is no noise


def test_one_wild_day_changes_nothing() -> None:
    days = [20.0] * 35
    days[30] = 900.0
    assert expected_day(days, BUSY, MONDAY).value == pytest.approx(20.0, rel=0.05)  # type: ignore[union-attr]


def test_a_week_of_holidays_is_not_the_new_usual() -> None:
    days = [20.0] * 28 + [4.0] * 7
    assert expected_day(days, BUSY, MONDAY).value == pytest.approx(20.0, rel=0.01)  # type: ignore[union-attr]


@pytest.mark.parametrize(("days", "calls"), [(13, 50.0), (35, 9.9)])
def test_nothing_is_expected_of_too_few_days_or_calls(days: int, calls: float) -> None:
    assert expected_day([20.0] * days, [calls] * days, MONDAY) is None


def test_the_limit_is_the_farthest_of_deviations_ratio_and_impact() -> None:
    assert Expected(10.0, 0.15, 35).limit(2.0, 5.0) == 20.0  # the ratio
    assert Expected(10.0, 0.30, 35).limit(2.0, 5.0) == pytest.approx(10 * math.exp(1.2))  # the deviation
    assert Expected(1.0, 0.15, 35).limit(2.0, 5.0) == 6.0  # the impact


@given(st.lists(amounts, min_size=14, max_size=60), st.integers(0, 6), st.floats(0.01, 100.0))
def test_the_expectation_scales_with_the_currency(days: list[float], weekday: int, times: float) -> None:
    calls = [50.0] * len(days)
    one, other = expected_day(days, calls, weekday), expected_day([day * times for day in days], calls, weekday)
    assert one is not None
    assert other is not None
    assert other.value == pytest.approx(one.value * times, rel=1e-6)
    assert other.spread == pytest.approx(one.spread, rel=1e-6)


@given(st.lists(st.one_of(st.just(0.0), amounts), min_size=14, max_size=60), st.integers(0, 6))
def test_whatever_the_days_the_expectation_is_a_number_above_zero(days: list[float], weekday: int) -> None:
    expected = expected_day(days, [50.0] * len(days), weekday)
    if expected is not None:
        assert 0 < expected.value < math.inf
        assert baselines.LEAST_SPREAD <= expected.spread < math.inf
        assert 0 < expected.low <= expected.value <= expected.high


@given(st.lists(amounts, min_size=7, max_size=60), st.integers(0, 6))
def test_weekday_factors_have_a_mean_of_about_one(days: list[float], weekday: int) -> None:
    factors = baselines.weekday_factors(days, weekday)
    assert len(factors) == 7
    assert min(factors) >= baselines.LEAST_FACTOR
    assert sum(factors) / 7 == pytest.approx(1.0, abs=7 * baselines.LEAST_FACTOR)


@given(st.lists(amounts, min_size=2, max_size=40), st.floats(-100, 100))
def test_the_trend_is_that_of_the_middle_of_all_slopes(values: list[float], slope: float) -> None:
    slopes = [(b - a) / (j - i) for i, a in enumerate(values) for j, b in enumerate(values) if j > i]
    assert baselines.trend(values) == pytest.approx(median(slopes))
    line = [slope * place for place in range(len(values))]
    assert baselines.trend(line) == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(4, 20, 0.0807, 0.4160), (0, 10, 0.0, 0.2775), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_the_interval_of_a_share_is_wilsons(hits: int, n: int, low: float, high: float) -> None:
    assert share_interval(hits, n) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_of_a_share_holds_the_share(hits: int, misses: int) -> None:
    low, high = share_interval(hits, hits + misses)
    assert 0 <= low <= high <= 1
    if hits + misses:
        assert low - 1e-12 <= hits / (hits + misses) <= high + 1e-12


def test_a_ratio_is_one_of_sums_and_its_variance_that_of_the_delta_method() -> None:
    # By hand: sums 300 and 2; parts 100/300 - 1/2, 200/300 - 1/2, n / (n - 1) = 2.
    ratio = ratio_of_sums([(100.0, 1.0), (200.0, 1.0)])
    assert ratio.value == 150.0
    assert ratio.variance == pytest.approx(2 * ((1 / 3 - 1 / 2) ** 2 + (2 / 3 - 1 / 2) ** 2))


def test_the_interval_of_a_quotient_is_wide_for_few_traces_and_narrow_for_many() -> None:
    few = [(900.0, 1.0), (1100.0, 0.0), (1000.0, 1.0), (1200.0, 1.0)]
    low, high = ratio_interval(ratio_of_sums(few), ratio_of_sums(few))
    narrow_low, narrow_high = ratio_interval(ratio_of_sums(few * 100), ratio_of_sums(few * 100))
    assert low < 0.6 < 0.9 < narrow_low < 1 < narrow_high < 1.1 < 1.6 < high


@given(st.lists(st.tuples(amounts, st.integers(0, 3)), max_size=30))
def test_a_quotient_of_anything_has_an_interval(pairs: list[tuple[float, int]]) -> None:
    ratio = ratio_of_sums(pairs)
    low, high = ratio_interval(ratio, ratio)
    assert 0 <= low <= 1.0000001
    assert high >= 0.9999999


def test_a_forecast_knows_weekends() -> None:
    days = weeks(5, 40.0, 0.4)
    total, low = baselines.forecast(days, BUSY, MONDAY, 7)
    assert total == pytest.approx(5 * 40 + 2 * 0.4, rel=0.1)
    assert 0 < low < total
    assert baselines.forecast(days[:10], BUSY[:10], 3, 7) == (0.0, 0.0)


def test_no_call_where_seven_are_expected_has_a_chance_of_one_in_a_thousand() -> None:
    assert baselines.chance_of_none(7.0) == pytest.approx(9.1e-4, rel=0.01)
    assert baselines.chance_of_none(0.0) == 1.0
