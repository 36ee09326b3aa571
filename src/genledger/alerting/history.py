"""What rules ask the ledger, as it was known at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from genledger.alerting.rules import AlertRule
from genledger.ledger.query import Filter, Query, ask

LOOK_BACK_DAYS = 28
"""Days without a value that make it a new one."""

Scope = tuple[tuple[str, str], ...]
"""A scope of a rule: fields and values, or the patterns of fields that are not broken down."""


class Day(NamedTuple):
    """A day of one scope."""

    cost: float
    calls: int


class Series(NamedTuple):
    """Days of one scope, oldest first, from its first call on; `today` is the last one, so far."""

    before: list[Day]
    today: Day

    @property
    def costs(self) -> list[float]:
        """Return the cost of the days before."""
        return [day.cost for day in self.before]

    @property
    def calls(self) -> list[float]:
        """Return the calls of the days before."""
        return [float(day.calls) for day in self.before]


class History:
    """The ledger up to `now`.

    Args:
        connection: From `Ledger.reading()`.
        now: The moment, in seconds since the epoch; nothing later is read.
        lost: Records that processes have lost since a moment.
    """

    def __init__(self, connection: sqlite3.Connection, now: float, lost: Mapping[float, int] | None = None) -> None:
        self.now = now
        self._connection = connection
        self._lost = lost or {}
        self._known: dict[Query, list[dict[str, Any]]] = {}

    def local(self, zone: str) -> datetime:
        """Return the moment in a time zone."""
        return datetime.fromtimestamp(self.now, ZoneInfo(zone))

    def rows(
        self,
        metrics: Sequence[str],
        since: datetime,
        until: datetime | None = None,
        *,
        by: Sequence[str] = (),
        every: Any = None,
        where: Sequence[Filter] = (),
    ) -> list[dict[str, Any]]:
        """Return the rows of a question about `since` to `until` (default: now), in `since`'s time zone."""
        zone = since.tzinfo
        query = Query(
            metrics=tuple(metrics),
            by=tuple(by),
            every=every,
            where=tuple(where),
            since_ns=_ns(since),
            until_ns=min(_ns(until), int(self.now * 1e9)) if until is not None else int(self.now * 1e9),
            zone=zone.key if isinstance(zone, ZoneInfo) else "UTC",
        )
        if query not in self._known:
            self._known[query] = ask(self._connection, query).rows
        return self._known[query]

    def series(self, rule: AlertRule, days: int, until: datetime | None = None) -> dict[Scope, Series]:
        """Return the days of each scope of a rule.

        Args:
            rule: The rule.
            days: How many days before the last one.
            until: The end of the last day (default: now, which is in today).
        """
        end = until or self.local(rule.timezone)
        last = (end - timedelta(microseconds=1)).date()
        first = last - timedelta(days=days)
        since = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(rule.timezone))
        found: dict[Scope, dict[str, Day]] = {}
        for row in self.rows(("cost", "calls"), since, until, by=rule.by, every="day", where=conditions(rule)):
            scope = scope_of(rule, row)
            if scope is not None:
                found.setdefault(scope, {})[row["time"][:10]] = Day(row["cost"] or 0.0, row["calls"])
        dates = [(first + timedelta(days=number)).isoformat() for number in range(days + 1)]
        return {scope: _series(dates, known) for scope, known in found.items()}

    def usual_day(self, where: Sequence[Filter], zone: str = "UTC") -> float:
        """Return the median cost of the last seven days, in USD."""
        today = self.local(zone).replace(hour=0, minute=0, second=0, microsecond=0)
        rows = self.rows(("cost",), today - timedelta(days=7), today, every="day", where=where)
        costs = [row["cost"] or 0.0 for row in rows]
        return median([*costs, *[0.0] * (7 - len(costs))])

    def lost_since(self, since: float) -> int:
        """Return the records that processes have lost since a moment, in seconds since the epoch."""
        return sum(count for at, count in self._lost.items() if since <= at <= self.now)


def conditions(rule: AlertRule) -> tuple[Filter, ...]:
    """Return what selects the calls of a rule."""
    return tuple(_filter(field, pattern) for field, pattern in rule.filters.items())


def within(rule: AlertRule, scope: Scope) -> tuple[Filter, ...]:
    """Return what selects the calls of a scope of a rule."""
    each = (Filter(field, "=", (value,)) for field, value in scope if field in rule.by)
    return (*conditions(rule), *each)


def scope_of(rule: AlertRule, row: Mapping[str, Any]) -> Scope | None:
    """Return the scope that a row is about; `None` if it has no value for a field."""
    values = {field: row[field] if field in rule.by else pattern for field, pattern in rule.patterns.items()}
    if any(value is None for value in values.values()):
        return None
    return tuple((field, str(value)) for field, value in values.items())


def _filter(field: str, pattern: str) -> Filter:
    return Filter(field, "~" if any(character in pattern for character in "*?[") else "=", (pattern,))


def _series(dates: Sequence[str], known: Mapping[str, Day]) -> Series:
    days = [known.get(date, Day(0.0, 0)) for date in dates]
    first = next((place for place, day in enumerate(days) if day.calls), len(days) - 1)
    return Series(days[first:-1], days[-1])


def _ns(when: datetime) -> int:
    return round(when.timestamp() * 1e6) * 1000
