from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.alerting import verdicts
from genledger.alerting.rules import Form
from genledger.alerting.verdicts import Traffic

amounts = st.floats(0.0, 1e5)
FORMS: tuple[Form, ...] = ("plain", "sound")


def spike(form: Form, today: float, days: list[float], calls: float = 50.0, weekday: int = 0) -> verdicts.Verdict:
    return verdicts.spike(
        form, today, days, [calls] * len(days), weekday, above=2.0, floor=5.0 * (form == "sound"), first=50.0
    )


@pytest.mark.parametrize(
    ("form", "today", "firing"), [("plain", 19.0, False), ("plain", 21.0, True), ("sound", 19.0, False)]
)
def test_a_spike_is_twice_the_mean_or_out_of_the_ordinary(form: Form, today: float, firing: bool) -> None:
    verdict = spike(form, today, [10.0] * 35)
    assert (verdict.firing, verdict.expected, verdict.limit) == (firing, pytest.approx(10.0), pytest.approx(20.0))


def test_a_tripled_saturday_is_a_spike_by_the_weekday_profile_alone() -> None:
    days = [8.0 if day % 7 > 4 else 40.0 for day in range(33)]  # from a Monday to a Friday
    assert not spike("plain", 24.0, days, weekday=5).firing
    assert spike("sound", 24.0, days, weekday=5).firing


def test_a_small_tenant_is_reported_only_by_what_its_first_days_may_cost() -> None:
    few = spike("sound", 49.0, [1.0] * 12)
    assert (few.firing, few.enough, few.n, few.of, few.limit) == (False, False, 12, "days", 50.0)
    assert spike("sound", 51.0, [1.0] * 12).firing
    rare = spike("sound", 49.0, [1.0] * 35, calls=3.0)
    assert (rare.enough, rare.n, rare.of) == (False, 3, "calls a day")


@given(st.lists(amounts, max_size=60), amounts, st.floats(0, 100), st.integers(0, 6))
def test_a_day_that_costs_more_never_stops_a_spike(days: list[float], today: float, more: float, weekday: int) -> None:
    for form in FORMS:
        before, after = spike(form, today, days, weekday=weekday), spike(form, today + more, days, weekday=weekday)
        assert after.firing or not before.firing
        assert before.limit == after.limit  # so a day may be judged before it is over


def test_spend_is_told_when_it_passes_the_amount_unless_the_weekday_is_always_like_that() -> None:
    mondays = [100.0 if day % 7 == 0 else 20.0 for day in range(35)]
    calls = [50.0] * 35
    assert verdicts.spend("plain", 101.0, mondays, calls, 0, above=50.0).firing
    assert not verdicts.spend("sound", 101.0, mondays, calls, 0, above=50.0).firing
    assert verdicts.spend("sound", 101.0, mondays[:-6], calls[:-6], 1, above=50.0).firing
    assert verdicts.spend("sound", 51.0, [], [], 1, above=50.0).firing


def growth(form: Form, week: float, noise: float = 0.0) -> verdicts.Verdict:
    history = [20.0 * (1 + noise * (-1) ** day) for day in range(28)]
    return verdicts.growth(
        form, [week / 7] * 7, history[-7:], history, [50.0] * 28, above=0.2, floor=35.0 if form == "sound" else 0.0
    )


def test_growth_is_told_when_chance_does_not_explain_it() -> None:
    assert growth("plain", 140 * 1.25).firing
    assert not growth("sound", 140 * 1.25, noise=0.5).firing  # days that vary by half explain 25 %
    assert growth("sound", 140 * 1.8).firing
    assert not growth("sound", 140 * 1.15).firing


PAIRS = [(800.0, 1.0), (1200.0, 0.0), (1000.0, 1.0), (1400.0, 1.0), (600.0, 0.0)]


def test_a_regression_needs_enough_successes_and_an_interval_that_excludes_chance() -> None:
    def worse(count: int, times: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        return [(used * times, won) for used, won in PAIRS * count], PAIRS * count

    few = verdicts.regression("sound", *worse(4, 1.6), above=1.4, min_successes=30)
    assert (few.firing, few.enough, few.n, few.of) == (False, False, 12, "successes")
    assert verdicts.regression("plain", *worse(4, 1.6), above=1.4, min_successes=30).firing
    many = verdicts.regression("sound", *worse(40, 1.6), above=1.4, min_successes=30)
    assert many.firing
    assert many.value == pytest.approx(1.6 * 5000 / 3)
    assert not verdicts.regression("sound", *worse(40, 1.3), above=1.4, min_successes=30).firing
    assert not verdicts.regression("sound", [], [], above=1.4, min_successes=30).enough


CALM = Traffic(100, 1, 100_000)


@pytest.mark.parametrize(
    ("now", "last", "plain", "sound"),
    [
        (Traffic(100, 40, 300_000), Traffic(20, 8, 60_000), True, True),
        (Traffic(100, 40, 90_000), Traffic(20, 8, 60_000), False, False),  # input tokens fall
        (Traffic(100, 40, 300_000), Traffic(20, 0, 60_000), True, False),  # it is over
        (Traffic(5, 1, 300_000), Traffic(1, 1, 60_000), True, False),  # too few calls
        (Traffic(100, 7, 300_000), Traffic(20, 2, 60_000), True, False),  # 7 of 100 may be 5 %
    ],
)
def test_errors_burn_when_they_go_on_and_chance_does_not_explain_them(
    now: Traffic, last: Traffic, plain: bool, sound: bool
) -> None:
    found = [verdicts.errors(form, now, last, CALM, above=0.05, min_calls=20).firing for form in FORMS]
    assert found == [plain, sound]


def test_a_share_of_few_calls_is_not_known() -> None:
    verdict = verdicts.share("sound", 1, 12, above=0.01, min_calls=20)
    assert (verdict.firing, verdict.enough, verdict.n) == (False, False, 12)
    assert verdicts.share("plain", 1, 12, above=0.01, min_calls=20).firing
    assert verdicts.share("sound", 30, 100, above=0.01, min_calls=20).firing


@pytest.mark.parametrize(
    ("form", "used", "elapsed", "rest", "firing"),
    [
        ("plain", 85.0, 0.2, (0.0, 0.0), True),
        ("plain", 85.0, 0.5, (0.0, 0.0), False),
        ("sound", 50.0, 0.3, (80.0, 60.0), True),
        ("sound", 50.0, 0.3, (80.0, 45.0), False),  # it may last
        ("sound", 120.0, 0.3, (80.0, 60.0), False),  # it is used up: the budget itself has told
    ],
)
def test_the_pace_of_a_budget(form: Form, used: float, elapsed: float, rest: tuple[float, float], firing: bool) -> None:
    above = 80.0 if form == "plain" else 100.0
    verdict = verdicts.pace(form, used, 100.0, elapsed, rest, 30, above=above, known=True)
    assert verdict.firing is firing
    assert not verdicts.pace("sound", 50.0, 100.0, 0.3, (0.0, 0.0), 5, above=100.0, known=False).enough


def test_a_weekly_reindex_is_no_surge() -> None:
    quiet = [1_000.0] * 336
    assert verdicts.embeddings("plain", 5e5, 1e4, quiet, [5e5], 9.0, above=1.0, floor=1.0).firing
    assert not verdicts.embeddings("sound", 5e5, 1e4, quiet, [5e5], 9.0, above=3.0, floor=1.0).firing
    assert verdicts.embeddings("sound", 5e5, 1e4, quiet, [2e3], 9.0, above=3.0, floor=1.0).firing
    assert not verdicts.embeddings("sound", 5e5, 1e4, quiet, [2e3], 0.5, above=3.0, floor=1.0).firing
    assert not verdicts.embeddings("sound", 5e5, 1e4, quiet[:20], [], 9.0, above=3.0, floor=1.0).enough


@pytest.mark.parametrize(
    ("calls", "weeks", "plain", "sound"),
    [
        (0, [40, 50, 60, 50], True, True),
        (1, [40, 50, 60, 50], False, False),
        (0, [3, 2, 4, 1], True, False),  # a quiet night
        (0, [40, 0, 60, 50], True, False),  # it has happened before
        (0, [40], True, False),
    ],
)
def test_silence_is_told_where_it_is_most_unlikely(calls: int, weeks: list[int], plain: bool, sound: bool) -> None:
    assert [verdicts.silence(form, calls, weeks, 500).firing for form in FORMS] == [plain, sound]


def test_a_lost_record_matters_by_the_calls_around_it() -> None:
    assert verdicts.lost("plain", 1, 5000, above=0.0).firing
    assert not verdicts.lost("sound", 1, 5000, above=0.0).firing
    assert verdicts.lost("sound", 6, 5000, above=0.0).firing
    assert not verdicts.lost("plain", 0, 0, above=0.0).firing


def test_a_new_value_is_told_when_it_is_used_in_earnest() -> None:
    def new(form: Form, calls: int, cost: float | None, days: int) -> verdicts.Verdict:
        return verdicts.first_seen(form, calls, cost, days, min_calls=5, min_usd=1.0)

    assert new("plain", 1, 0.01, 28).firing
    assert not new("sound", 1, 5.0, 28).firing
    assert not new("sound", 9, 0.5, 28).firing
    assert new("sound", 9, 1.5, 28).firing
    assert new("sound", 9, None, 28).firing  # whatever it costs
    assert not new("sound", 9, 1.5, 3).enough  # in a new ledger, everything is new
