"""Time as questions cut it: hours, and the days, weeks and months of a time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

Grain = Literal["hour", "day", "week", "month"]

GRAINS: tuple[Grain, ...] = get_args(Grain)

HOUR_NS = 3_600_000_000_000

MAX_BUCKETS = 25_000
"""Buckets of time that one question may have: every hour of two years, every day since 1970."""


class Bucket(NamedTuple):
    """Calls that started at `begin_ns` or later, and before `end_ns`; `start` is its beginning in the time zone."""

    begin_ns: int
    end_ns: int
    start: datetime


def buckets(since_ns: int, until_ns: int, grain: Grain, zone: str) -> list[Bucket]:
    """Return the hours, days, weeks or months that a period touches, cut to the period.

    A day that begins or ends summer time has 23 or 25 hours. Weeks begin on Monday.

    Raises:
        ValueError: There are more than `MAX_BUCKETS`.
    """
    found = []
    for start, end in _starts(since_ns, grain, ZoneInfo(zone)):
        begin_ns, end_ns = _ns(start), _ns(end)
        if begin_ns >= until_ns:
            break
        if end_ns > since_ns:
            found.append(Bucket(max(begin_ns, since_ns), min(end_ns, until_ns), start))
        if len(found) > MAX_BUCKETS:
            raise ValueError(f"the period has more than {MAX_BUCKETS:,} times one {grain}; ask for a shorter one")
    return found


def start_of(grain: Grain, when: datetime) -> datetime:
    """Return the beginning of the hour, day, week or month in which a time is, in the time's own zone."""
    if grain == "hour":
        # In UTC and back: an hour that comes twice in autumn has two beginnings.
        utc = when.astimezone(UTC)
        past = timedelta(minutes=when.minute, seconds=when.second, microseconds=when.microsecond)
        return (utc - past).astimezone(when.tzinfo)
    day = when.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if grain == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if grain == "month" else day


def after(grain: Grain, start: datetime) -> datetime:
    """Return the beginning of the next hour, day, week or month."""
    if grain == "hour":
        return (start.astimezone(UTC) + timedelta(hours=1)).astimezone(start.tzinfo)
    if grain == "month":
        return (start.replace(day=1) + timedelta(days=32)).replace(day=1)
    return start + timedelta(days=7 if grain == "week" else 1)


def _starts(since_ns: int, grain: Grain, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    start = start_of(grain, datetime.fromtimestamp(since_ns // 1_000_000_000, zone))
    while True:
        end = after(grain, start)
        yield start, end
        start = end


def _ns(when: datetime) -> int:
    return int(when.timestamp()) * 1_000_000_000
