"""Periods as people name them: `yesterday`, `last-week`, `7d`, dates; in a time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from genledger.ledger.grains import Grain, after, start_of

Period = tuple[datetime | None, datetime | None]
"""Beginning and end, exclusive; `None`: no limit, and now."""

NAMED: Final[dict[str, tuple[Grain, int]]] = {
    "today": ("day", 0),
    "yesterday": ("day", 1),
    "this-week": ("week", 0),
    "last-week": ("week", 1),
    "this-month": ("month", 0),
    "last-month": ("month", 1),
}
"""The periods that have a name: what they are one of, and how many of these ago."""

_FIRST_YEAR, _LAST_YEAR = 2, 9998
_FAR_NS = 2**63 - 1
_AGO: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HINT: Final = (
    "a duration such as 7d, 24h or 30m, nor a date such as 2026-11-01 or 2026-11-01T12:00, nor one of "
    f"{', '.join(NAMED)} and all"
)


class PeriodError(ValueError):
    """A period or a time zone is not one. The message says what there is instead."""


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone of an IANA name, such as `Europe/Berlin`.

    Raises:
        PeriodError: There is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PeriodError(f"there is no time zone {name!r}; name one like UTC, Europe/Berlin or Asia/Kolkata") from None


def read_period(text: str, zone: str, now: datetime) -> Period:
    """Return the period that a text names.

    A named day, week or month is the whole of it, or what there is of it so far: weeks begin on Monday. A duration ago,
    and a date or time, are the beginning of a period that goes on until now.

    Args:
        text: One of `NAMED`; `7d` (also `s`, `m`, `h`, `w`); an ISO date or time; `all`.
        zone: The IANA name of the time zone in which days begin, and dates and times without a zone are.
        now: The current time, with a zone.

    Raises:
        PeriodError: It is none of these.
    """
    place = read_zone(zone)
    if text == "all":
        return None, None
    try:
        if text in NAMED:
            grain, ago = NAMED[text]
            begin = start_of(grain, now.astimezone(place))
            return (begin, None) if not ago else (_back(grain, begin), begin)
        duration = re.fullmatch(r"(\d+)([smhdw])", text)
        when = now - timedelta(**{_AGO[duration[2]]: int(duration[1])}) if duration else datetime.fromisoformat(text)
        if not _FIRST_YEAR <= when.year <= _LAST_YEAR:  # no time zone reaches further
            raise ValueError
    except (ValueError, OverflowError):
        raise PeriodError(f"{text!r} is neither {_HINT}") from None
    return (when if when.tzinfo else when.replace(tzinfo=place)), None


def between(since: str, until: str | None, zone: str, now: datetime) -> Period:
    """Return the period from one text to another; a named period as its end means up to its beginning.

    Raises:
        PeriodError: One is not a period, or the first is not before the second.
    """
    begin, end = read_period(since, zone, now)
    if until is not None:
        end = now if until == "now" else read_period(until, zone, now)[0]
    if begin is not None and end is not None and begin >= end:
        raise PeriodError(f"the period is empty: {since} is not before {until}")
    return begin, end


def epoch_ns(when: datetime | None) -> int | None:
    """Return nanoseconds since the epoch, within the range of SQLite's integers (the years 1677 to 2262)."""
    if when is None:
        return None
    return max(-_FAR_NS, min(int(when.timestamp() * 1_000_000) * 1_000, _FAR_NS))


def before(since: str, begin: datetime, end: datetime, zone: str) -> tuple[datetime, datetime]:
    """Return the period that one is compared with: as long, and right before it.

    It is cut in the time zone: the week before last week, yesterday until this time of the day, last month until this
    day of the month, and as many whole days before whole days, with or without the hour of summer time.

    Args:
        since: What the period was named by.
        begin: Its beginning.
        end: Its end, exclusive.
        zone: The IANA name of the time zone.
    """
    place = read_zone(zone)
    first, last = begin.astimezone(place), end.astimezone(place)
    if since in NAMED:
        grain = NAMED[since][0]
        earlier = _back(grain, first)
        if last >= after(grain, first):
            return earlier, first
        # In the clock's own time: as many days, and then until the same time of day.
        return earlier, min(earlier + (last.replace(tzinfo=None) - first.replace(tzinfo=None)), first)
    if first.time() == last.time() == time():
        return first - timedelta(days=(last.date() - first.date()).days), first
    # In UTC: the difference of two times in one zone is that of their clocks.
    utc = first.astimezone(UTC)
    return utc - (last.astimezone(UTC) - utc), utc


def _back(grain: Grain, start: datetime) -> datetime:
    """Return the beginning of the day, week or month before the one that begins at `start`."""
    if grain == "month":
        return (start - timedelta(days=1)).replace(day=1)
    return start - timedelta(days=7 if grain == "week" else 1)
