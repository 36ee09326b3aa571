"""Spend: which calls are meant, and what those cost that share one value of a dimension.

Sums are sums of doubles. Adding ten million positive doubles in any order loses at most 1e-9 of the sum:
a cent in ten million dollars. Integers would be no better: nano-dollars round each call, by up to half a cent
over ten million of them, and a sum of pico-dollars overflows SQLite's integers at nine million dollars.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Literal

from genledger.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS
from genledger.shared.text import bounded

Dimension = Literal[
    "feature", "tenant", "model", "user", "session", "prompt_version", "provider", "day", "agent", "workflow", "tool"
]
"""What spend can be broken down by. `model` is the one that answered, `day` is in UTC."""

RUNS: frozenset[Dimension] = frozenset({"agent", "workflow", "tool"})
"""The dimensions that are kinds of step: a call belongs to the nearest step of that kind around it."""

PROMPT = "nullif(trim(ifnull(prompt_name, '') || ' ' || ifnull(prompt_version, '')), '')"

KEYS: dict[Dimension, str] = {
    "feature": "feature",
    "tenant": "tenant",
    "model": "ifnull(response_model, request_model)",
    "user": "user",
    "session": "session",
    "prompt_version": PROMPT,
    "provider": "provider",
    "day": "date(started_ns / 1000000000, 'unixepoch')",
    **dict.fromkeys(RUNS, "run_name"),
}

_CACHED = ("cache_read", "cache_read_audio", "cache_read_image")

SUMS = f"""
    count(*) AS calls, count(cost_usd) AS priced, count(unpriced) AS unpriced,
    sum(outcome IN ('error', 'timeout', 'rate_limited')) AS errors,
    sum(outcome = 'success') AS succeeded, avg(iif(outcome = 'success', duration_s, NULL)) AS latency_s,
    ifnull(sum({" + ".join(INPUT_BUCKETS)}), 0) AS input_tokens,
    ifnull(sum({" + ".join(OUTPUT_BUCKETS)}), 0) AS output_tokens,
    ifnull(sum({" + ".join(_CACHED)}), 0) AS cached_tokens,
    sum(cost_usd) AS cost_usd
"""


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


def spending_by(connection: sqlite3.Connection, by: Dimension, selection: Selection) -> list[Spending]:
    """Return spend by one dimension that is a field of calls, most expensive first; by day, oldest first."""
    where, parameters = selection.where("started_ns")
    reasons = reasons_of(connection, by, f"calls WHERE unpriced IS NOT NULL AND {where}", parameters)
    order = "key" if by == "day" else "cost_usd DESC, calls DESC, key"
    found = connection.execute(
        f"SELECT {KEYS[by]} AS key, {SUMS} FROM calls WHERE {where} GROUP BY 1 ORDER BY {order}", parameters
    ).fetchall()
    whole = fsum(row["cost_usd"] or 0.0 for row in found)
    return [Spending(**row, unpriced_reasons=reasons[row["key"]], share=ratio(row["cost_usd"], whole)) for row in found]


def reasons_of(
    connection: sqlite3.Connection, by: Dimension, unpriced: str, parameters: Sequence[Any]
) -> dict[str | None, dict[str, int]]:
    """Count why calls have no price, for each value of a dimension."""
    reasons: dict[str | None, dict[str, int]] = defaultdict(dict)
    for key, reason, calls in connection.execute(
        f"SELECT {KEYS[by]}, unpriced, count(*) FROM {unpriced} GROUP BY 1, 2", parameters
    ):
        reasons[key][reason] = calls
    return reasons


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
