"""The time over which a rule counts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

Period = Literal["minute", "hour", "day", "week", "month", "rolling", "session", "run"]

BUCKETS = 60
"""Parts into which a rolling window is cut; what is spent leaves it one part at a time."""

LIFE_KEPT = 7 * 86400.0
"""Seconds for which the counter of a session or a run is kept after its last use."""

CLOSED_KEPT = 3600.0
"""Seconds for which a finished window is kept, so that calls in progress can settle in it."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ROLLING = re.compile(r"rolling\s+(\d+)\s*([smhd])")
EXPECTED = '"minute", "hour", "day", "week", "month", "rolling 24h" (s, m, h, d), "session" or "run"'


def known_zone(zone: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: It is not known.
    """
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {zone!r}; expected a name such as Europe/Berlin") from error
    return zone


@dataclass(frozen=True, slots=True)
class Window:
    """A calendar period in a time zone, a rolling span of seconds, or the life of a session or run.

    Minutes and hours are those of UTC. Days, weeks (from Monday) and months begin at midnight in `zone`.
    """

    period: Period
    zone: str = "UTC"
    span: float = 0.0

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Window:
        """Read `day`, `rolling 24h`, `session`, …

        Raises:
            ValueError: It is none of these, or the time zone is not known.
        """
        known_zone(zone)
        rolling = _ROLLING.fullmatch(text)
        if rolling is not None:
            span = int(rolling[1]) * _SECONDS[rolling[2]]
            if span == 0:
                raise ValueError("a rolling window needs at least one second")
            return cls("rolling", zone, float(span))
        match text:
            case "minute" | "hour" | "day" | "week" | "month" | "session" | "run":
                return cls(text, zone)
        raise ValueError(f"{text!r} is not a window; expected {EXPECTED}")

    def __str__(self) -> str:
        if self.period != "rolling":
            return self.period
        for unit in ("d", "h", "m"):
            if self.span % _SECONDS[unit] == 0:
                return f"rolling {self.span / _SECONDS[unit]:.0f}{unit}"
        return f"rolling {self.span:.0f}s"

    @property
    def kept(self) -> float:
        """Return seconds for which a counter outlives its window, or its last use when the window has no end."""
        if self.period in ("session", "run"):
            return LIFE_KEPT
        return CLOSED_KEPT + self.span

    def bounds(self, now: float) -> tuple[float, float]:
        """Start and end of the window around `now` (seconds since the epoch); end 0 when it has none."""
        match self.period:
            case "minute":
                start = now // 60 * 60
                return start, start + 60
            case "hour":
                start = now // 3600 * 3600
                return start, start + 3600
            case "rolling" | "session" | "run":
                return 0.0, 0.0
        zone = ZoneInfo(self.zone)
        # Whole seconds, because the conversion rounds: the last moment of a day is not the first of the next.
        today = datetime.fromtimestamp(math.floor(now), zone).date()
        if self.period == "day":
            first, last = today, today + timedelta(days=1)
        elif self.period == "week":
            first = today - timedelta(days=today.weekday())
            last = first + timedelta(days=7)
        else:
            first = today.replace(day=1)
            last = (first + timedelta(days=32)).replace(day=1)
        start, end = (datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() for day in (first, last))
        return start, end

    def local(self, moment: float) -> datetime:
        """Return a moment (seconds since the epoch) as a date in the rule's time zone."""
        return datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(self.zone))
