"""Periods in words: cut in the time zone, also where days have 23 or 25 hours and zones have half ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genledger.reports.periods import NAMED, PeriodError, before, between, epoch_ns, read_period

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)  # a Saturday
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("24h", NOW - timedelta(days=1)),
        ("7d", NOW - timedelta(days=7)),
        ("2w", NOW - timedelta(days=14)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T12:30+02:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
        ("all", None),
    ],
)
def test_a_duration_ago_and_a_date_go_on_until_now(text: str, expected: datetime | None) -> None:
    assert read_period(text, "UTC", NOW) == (expected, None)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("today", "2026-11-21", None),
        ("yesterday", "2026-11-20", "2026-11-21"),
        ("this-week", "2026-11-16", None),
        ("last-week", "2026-11-09", "2026-11-16"),
        ("this-month", "2026-11-01", None),
        ("last-month", "2026-10-01", "2026-11-01"),
    ],
)
@pytest.mark.parametrize("zone", ZONES)
def test_a_named_period_is_the_whole_of_it_in_the_zone(text: str, begin: str, end: str | None, zone: str) -> None:
    def midnight(day: str) -> datetime:
        return datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))

    assert read_period(text, zone, NOW) == (midnight(begin), end and midnight(end))


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        ("Europe/Berlin", "2026-03-30T12:00", 23),
        ("Europe/Berlin", "2026-10-26T12:00", 25),
        ("Australia/Lord_Howe", "2026-04-06T12:00", 24.5),  # its summer time is half an hour
    ],
)
def test_a_day_around_summer_time_has_its_own_length(zone: str, now: str, hours: float) -> None:
    begin, end = read_period("yesterday", zone, datetime.fromisoformat(now).replace(tzinfo=ZoneInfo(zone)))
    assert begin is not None
    assert end is not None
    assert end.timestamp() - begin.timestamp() == hours * 3600


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("last-week", None, ("2026-10-12T00:00+02:00", "2026-10-19T00:00+02:00")),
        ("yesterday", None, ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00")),
        ("today", None, ("2026-10-26T00:00+01:00", "2026-10-26T11:30+01:00")),
        ("this-week", None, ("2026-10-19T00:00+02:00", "2026-10-20T11:30+02:00")),
        ("this-month", None, ("2026-09-01T00:00+02:00", "2026-09-27T11:30+02:00")),
        ("last-month", None, ("2026-08-01T00:00+02:00", "2026-09-01T00:00+02:00")),
        ("24h", None, ("2026-10-25T11:30+01:00", "2026-10-26T11:30+01:00")),
        ("2026-10-24", "2026-10-27", ("2026-10-21T00:00+02:00", "2026-10-24T00:00+02:00")),
    ],
)
def test_the_period_before_is_cut_in_the_zone(since: str, until: str | None, expected: tuple[str, str]) -> None:
    # Tuesday in the week in which summer time ends.
    now = datetime(2026, 10, 27, 11, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    begin, end = between(since, until, "Europe/Berlin", now)
    assert begin is not None
    found = before(since, begin, end or now, "Europe/Berlin")
    assert tuple(when.timestamp() for when in found) == tuple(
        datetime.fromisoformat(text).timestamp() for text in expected
    )


def test_a_month_is_not_compared_with_more_than_the_one_before() -> None:
    now = datetime(2026, 3, 31, 12, tzinfo=UTC)
    begin, _ = between("this-month", None, "UTC", now)
    assert begin is not None
    assert before("this-month", begin, now, "UTC") == (
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )


@given(
    st.sampled_from(sorted(NAMED)),
    st.sampled_from(ZONES),
    st.integers(1_577_836_800, 1_893_456_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_a_named_period_and_the_one_before_touch_and_have_no_call_in_common(
    name: str, zone: str, now: datetime
) -> None:
    begin, end = read_period(name, zone, now)
    assert begin is not None
    assert begin <= now
    assert begin.time() == datetime.min.time()
    assert begin.tzinfo == ZoneInfo(zone)
    first, last = before(name, begin, end or now, zone)
    assert first < last or (end is None and first == last)
    assert last.timestamp() <= begin.timestamp()
    if end is not None:
        assert last == begin
        assert read_period(name, zone, begin)[0] == first


@given(st.text(max_size=12) | st.from_regex(r"\d{1,15}[smhdw]|\d{4}-\d\d-\d\d", fullmatch=True))
def test_whatever_is_typed_is_a_period_or_refused(text: str) -> None:
    try:
        begin, end = read_period(text, "Asia/Kathmandu", NOW)
    except PeriodError:
        return
    for when in (begin, end):
        assert -(2**63) <= (epoch_ns(when) or 0) < 2**63


@pytest.mark.parametrize(
    ("since", "until", "zone", "said"),
    [
        ("last-tuesday", None, "UTC", "'last-tuesday' is neither a duration such as 7d"),
        ("1d", "2d", "UTC", "the period is empty: 1d is not before 2d"),
        ("yesterday", "yesterday", "UTC", "the period is empty"),
        ("1d", None, "Europe/Bielefeld", "there is no time zone 'Europe/Bielefeld'"),
        ("1d", None, "../etc/passwd", "there is no time zone"),
    ],
)
def test_what_is_no_period_says_what_there_is(since: str, until: str | None, zone: str, said: str) -> None:
    with pytest.raises(PeriodError) as refused:
        between(since, until, zone, NOW)
    assert said in str(refused.value)


def test_the_end_of_a_period_may_be_named() -> None:
    assert between("last-month", "now", "UTC", NOW)[1] == NOW
    assert between("last-month", "yesterday", "UTC", NOW)[1] == datetime(2026, 11, 20, tzinfo=UTC)
