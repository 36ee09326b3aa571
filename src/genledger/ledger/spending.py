"""Spend: which calls are meant, and what those cost that share one value of a dimension.

Sums are sums of doubles. Adding ten million positive doubles in any order loses at most 1e-9 of the sum:
a cent in ten million dollars. Integers would be no better: nano-dollars round each call, by up to half a cent
over ten million of them, and a sum of pico-dollars overflows SQLite's integers at nine million dollars.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from genledger.ledger.query import Filter, Query, ask
from genledger.shared.text import bounded

DAY = "day"
"""Besides the fields of questions, what spend can be broken down by."""


@dataclass(slots=True, frozen=True)
class Selection:
    """Which calls are meant: those that started at `since_ns` or later, and before `until_ns`.

    Times are nanoseconds since the epoch. A field that is `None` selects everything.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    tenant: str | None = None
    feature: str | None = None

    def where(self, time_column: str) -> tuple[str, list[Any]]:
        """Return the condition in SQL, and its parameters."""
        conditions = {
            f"{time_column} >= ?": self.since_ns,
            f"{time_column} < ?": self.until_ns,
            "tenant = ?": self.tenant,
            "feature = ?": self.feature,
        }
        given = {
            condition: bounded(value) if isinstance(value, str) else value
            for condition, value in conditions.items()
            if value is not None
        }
        return " AND ".join(given) or "TRUE", list(given.values())

    def query(self, *metrics: str, **more: Any) -> Query:
        """Return a question about the calls, with these metrics and further fields of `Query`."""
        given = {"tenant": self.tenant, "feature": self.feature}
        where = tuple(Filter(name, "=", (value,)) for name, value in given.items() if value is not None)
        return Query(metrics=metrics, where=where, since_ns=self.since_ns, until_ns=self.until_ns, **more)


EVERYTHING = Selection()
"""All that the ledger holds."""


@dataclass(slots=True, frozen=True)
class Spending:
    """Calls that share one value of a dimension, or all of them.

    `cost_usd` is `None` when not one of them is priced; otherwise it is what the priced ones cost.
    `calls - priced - unpriced` are calls that nobody bills. `errors` are calls that failed, timed out or were
    rate-limited in the end. `input_tokens` include `cached_tokens`, those read from a cache. `latency_s` is the
    mean duration, in seconds, of the `succeeded` calls, `None` when there is none. `share` is the part of the
    whole cost, from 0 to 1.
    """

    key: str | None
    calls: int
    priced: int
    unpriced: int
    unpriced_reasons: dict[str, int]
    errors: int
    succeeded: int
    latency_s: float | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    share: float | None


_MEASURED: Mapping[str, str] = {
    "calls": "calls",
    "priced": "priced",
    "unpriced": "unpriced",
    "errors": "errors",
    "succeeded": "succeeded",
    "latency": "latency_s",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_tokens": "cached_tokens",
    "cost": "cost_usd",
}
"""The metrics of questions, and what `Spending` calls them."""


def spending_by(
    connection: sqlite3.Connection, by: str | None, selection: Selection, zone: str = "UTC"
) -> list[Spending]:
    """Return spend by one field, most expensive first; by day, oldest first; by `None`, of all calls.

    Raises:
        QueryError: There is no such field.
    """
    grouping: dict[str, Any] = {"by": fields_of(by), "every": DAY if by == DAY else None, "zone": zone}
    found = ask(connection, selection.query(*_MEASURED, **grouping)).rows
    reasons: dict[str | None, dict[str, int]] = defaultdict(dict)
    if any(row["unpriced"] for row in found):
        grouping["by"] = (*grouping["by"], "unpriced_reason")
        for row in ask(connection, selection.query("unpriced", **grouping)).rows:
            if row["unpriced"]:
                reasons[key_of(row, by)][row["unpriced_reason"]] = row["unpriced"]
    # A call counts for each of its tags.
    costs = ask(connection, selection.query("cost")).rows if by == "tag" else found
    whole = fsum(row["cost"] or 0.0 for row in costs)
    rows = [
        Spending(
            key=key_of(row, by),
            unpriced_reasons=reasons[key_of(row, by)],
            share=ratio(row["cost"], whole),
            **{name: row[metric] for metric, name in _MEASURED.items()},
        )
        for row in found
    ]
    if by != DAY:
        rows.sort(key=lambda row: (row.cost_usd is None, -(row.cost_usd or 0.0), -row.calls, row.key or ""))
    return rows


def fields_of(by: str | None) -> tuple[str, ...]:
    """Return the fields of questions that spend by something is grouped by: a prompt version is one of its prompt."""
    return () if by is None or by == DAY else ("prompt",) if by == "prompt_version" else (by,)


def key_of(row: Mapping[str, Any], by: str | None) -> str | None:
    """Return the value that a row of a question has of what spend is broken down by."""
    if by == DAY:
        return str(row["time"][:10])
    value = next((row[name] for name in fields_of(by)), None)
    return None if value is None else str(value)


def sum_of(rows: Sequence[Spending]) -> Spending:
    """Return the sum of rows."""
    reasons: dict[str, int] = defaultdict(int)
    for row in rows:
        for reason, calls in row.unpriced_reasons.items():
            reasons[reason] += calls
    priced = sum(row.priced for row in rows)
    cost_usd = fsum(row.cost_usd or 0.0 for row in rows) if priced else None
    succeeded = sum(row.succeeded for row in rows)
    return Spending(
        key=None,
        calls=sum(row.calls for row in rows),
        priced=priced,
        unpriced=sum(row.unpriced for row in rows),
        unpriced_reasons=dict(reasons),
        errors=sum(row.errors for row in rows),
        succeeded=succeeded,
        latency_s=ratio(fsum(row.succeeded * (row.latency_s or 0.0) for row in rows), succeeded),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        cost_usd=cost_usd,
        share=ratio(cost_usd, cost_usd),
    )


def ratio(part: float | None, whole: float | None) -> float | None:
    """Return a part of a whole; `None` where one is unknown, or there is nothing to divide by."""
    return part / whole if part is not None and whole else None
