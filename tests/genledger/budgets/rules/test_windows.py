from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.budgets.rules.windows import Window

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Kolkata", "Pacific/Apia", "Asia/Beirut"]
MOMENTS = st.floats(
    min_value=datetime(2020, 1, 1, tzinfo=UTC).timestamp(), max_value=datetime(2035, 1, 1, tzinfo=UTC).timestamp()
)


@given(MOMENTS, st.sampled_from(["minute", "hour", "day", "week", "month"]), st.sampled_from(ZONES))
def test_calendar_windows_follow_each_other_without_gap_or_overlap(now: float, period: str, zone: str) -> None:
    window = Window.parse(period, zone)
    start, end = window.bounds(now)
    assert start <= now < end
    assert window.bounds(end)[0] == end
    assert window.bounds(start) == (start, end)


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        # The clocks go forward in Berlin on 2026-03-29: that day has 23 hours.
        ("day", "2026-03-29T12:00+02:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        # And back on 2026-10-25: 25 hours.
        ("day", "2026-10-25T12:00+01:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
        ("week", "2026-11-22T23:59+01:00", "2026-11-16T00:00+01:00", "2026-11-23T00:00+01:00"),
        ("month", "2026-12-31T23:00+01:00", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
    ],
)
def test_days_weeks_and_months_begin_at_midnight_in_their_zone(period: str, moment: str, start: str, end: str) -> None:
    found = Window.parse(period, "Europe/Berlin").bounds(datetime.fromisoformat(moment).timestamp())
    assert found == (datetime.fromisoformat(start).timestamp(), datetime.fromisoformat(end).timestamp())


def test_a_midnight_that_is_skipped_begins_the_day_at_the_change() -> None:
    # Cuba's clocks went from 2024-03-10 00:00 to 01:00.
    start, _ = Window.parse("day", "America/Havana").bounds(
        datetime(2024, 3, 10, 12, tzinfo=ZoneInfo("America/Havana")).timestamp()
    )
    assert datetime.fromtimestamp(start, UTC) == datetime(2024, 3, 10, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["day", "rolling 90s", "rolling 15m", "rolling 24h", "rolling 7d", "session", "run"])
def test_a_window_reads_what_it_writes(text: str) -> None:
    window = Window.parse(text)
    assert Window.parse(str(window)) == window


def test_lives_and_rolling_windows_have_no_end() -> None:
    assert {Window.parse(text).bounds(1e9) for text in ("rolling 1h", "session", "run")} == {(0.0, 0.0)}


@pytest.mark.parametrize("text", ["", "fortnight", "rolling", "rolling 0s", "rolling 5 weeks", "Day"])
def test_what_is_not_a_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        Window.parse(text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown time zone 'Europe/Atlantis'"):
        Window.parse("day", "Europe/Atlantis")
