"""Queries of the ledger: spend by dimension, runs of agents, cost per outcome, cost of retries.

Every function takes a connection from `Ledger.reading()`, so that several answers agree with each other.

Sums are sums of doubles. Adding ten million positive doubles in any order loses at most 1e-9 of the sum:
a cent in ten million dollars. Integers would be no better: nano-dollars round each call, by up to half a cent
over ten million of them, and a sum of pico-dollars overflows SQLite's integers at nine million dollars.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from math import fsum
from typing import Any, Literal

from genledger.engine.record import CallRecord
from genledger.ledger.rows import Step, record_of, step_of
from genledger.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS
from genledger.shared.text import bounded

Dimension = Literal[
    "feature", "tenant", "model", "user", "session", "prompt_version", "provider", "day", "agent", "workflow", "tool"
]
"""What spend can be broken down by. `model` is the one that answered, `day` is in UTC."""

RUNS: frozenset[Dimension] = frozenset({"agent", "workflow", "tool"})
"""The dimensions that are kinds of step: a call belongs to the nearest step of that kind around it."""

_PROMPT = "nullif(trim(ifnull(prompt_name, '') || ' ' || ifnull(prompt_version, '')), '')"

_KEYS: dict[Dimension, str] = {
    "feature": "feature",
    "tenant": "tenant",
    "model": "ifnull(response_model, request_model)",
    "user": "user",
    "session": "session",
    "prompt_version": _PROMPT,
    "provider": "provider",
    "day": "date(started_ns / 1000000000, 'unixepoch')",
    **dict.fromkeys(RUNS, "run_name"),
}

_SHARED_KEYS: dict[Dimension, str] = {
    "tenant": "tenant",
    "user": "user",
    "session": "session",
    "prompt_version": _PROMPT,
}
"""The dimensions, besides the feature, that product events have in common with calls."""

_CACHED = ("cache_read", "cache_read_audio", "cache_read_image")

_SUMS = f"""
    count(*) AS calls, count(cost_usd) AS priced, count(unpriced) AS unpriced,
    sum(outcome IN ('error', 'timeout', 'rate_limited')) AS errors,
    sum(outcome = 'success') AS succeeded, avg(iif(outcome = 'success', duration_s, NULL)) AS latency_s,
    ifnull(sum({" + ".join(INPUT_BUCKETS)}), 0) AS input_tokens,
    ifnull(sum({" + ".join(OUTPUT_BUCKETS)}), 0) AS output_tokens,
    ifnull(sum({" + ".join(_CACHED)}), 0) AS cached_tokens,
    sum(cost_usd) AS cost_usd
"""

_MOST_AROUND = 1_000
"""Steps and calls that are looked at around one call: parents that go in a circle have no end."""


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


@dataclass(slots=True, frozen=True)
class RunSpending(Spending):
    """The runs of the agents, workflows or tools of one name, and the calls inside: each in the nearest run around it.

    `key` is `None` for the calls in no run. `runs` are those that began in the period, and those that one of the
    calls belongs to; `failed_runs` of them ended with an error. The means are `None` where there is no run, that of the
    cost also where no call is priced; in a total, they leave out the calls in no run.
    """

    runs: int
    failed_runs: int
    calls_per_run: float | None
    tokens_per_run: float | None
    cost_per_run: float | None


@dataclass(slots=True, frozen=True)
class OutcomeCost:
    """Cost per outcome: the spend of a feature, divided by how often the outcome was recorded there.

    `key` is the tenant, user, session or prompt version, when the report is by one of these. `value` is the
    sum of the values recorded. `cost_per_outcome` leaves out the `unpriced` calls, and is `None` when there
    is nothing to divide, or nothing to divide by.
    """

    name: str
    feature: str | None
    key: str | None
    outcomes: int
    value: float
    calls: int
    unpriced: int
    cost_usd: float | None
    cost_per_outcome: float | None


@dataclass(slots=True, frozen=True)
class Retries:
    """Calls that took more than one request: how many were repeated, why, and what these calls cost."""

    calls: int
    requests: int
    causes: dict[str, int]
    unpriced: int
    cost_usd: float | None
    duration_s: float


@dataclass(slots=True, frozen=True)
class Report:
    """One report. `outcomes` are per feature and, where product events have that dimension, per `by`."""

    by: Dimension
    rows: Sequence[Spending]
    total: Spending
    outcomes: list[OutcomeCost]
    retries: Retries


def report(connection: sqlite3.Connection, by: Dimension, selection: Selection = EVERYTHING) -> Report:
    """Return everything that `genledger report` shows."""
    rows = spending(connection, by, selection)
    return Report(by, rows, total(rows), outcome_costs(connection, by, selection), retries(connection, selection))


def nothing(by: Dimension) -> Report:
    """Return the report of a ledger that does not exist yet."""
    return Report(by, [], total([]), [], Retries(0, 0, {}, 0, None, 0.0))


def spending(connection: sqlite3.Connection, by: Dimension, selection: Selection = EVERYTHING) -> Sequence[Spending]:
    """Spend by one dimension, most expensive first; by day, oldest first. By one of `RUNS`, `RunSpending`."""
    if by in RUNS:
        return _run_spending(connection, by, selection)
    where, parameters = selection.where("started_ns")
    reasons = _reasons(connection, by, f"calls WHERE unpriced IS NOT NULL AND {where}", parameters)
    order = "key" if by == "day" else "cost_usd DESC, calls DESC, key"
    found = connection.execute(
        f"SELECT {_KEYS[by]} AS key, {_SUMS} FROM calls WHERE {where} GROUP BY 1 ORDER BY {order}", parameters
    ).fetchall()
    whole = fsum(row["cost_usd"] or 0.0 for row in found)
    return [
        Spending(**row, unpriced_reasons=reasons[row["key"]], share=_ratio(row["cost_usd"], whole)) for row in found
    ]


def _reasons(
    connection: sqlite3.Connection, by: Dimension, unpriced: str, parameters: Sequence[Any]
) -> dict[str | None, dict[str, int]]:
    """Count why calls have no price, for each value of a dimension."""
    reasons: dict[str | None, dict[str, int]] = defaultdict(dict)
    for key, reason, calls in connection.execute(
        f"SELECT {_KEYS[by]}, unpriced, count(*) FROM {unpriced} GROUP BY 1, 2", parameters
    ):
        reasons[key][reason] = calls
    return reasons


def _run_spending(connection: sqlite3.Connection, by: Dimension, selection: Selection) -> list[RunSpending]:
    where, parameters = selection.where("started_ns")
    unpriced = _in_runs(by, f"unpriced IS NOT NULL AND {where}", where)
    reasons = _reasons(connection, by, unpriced, 2 * parameters)
    found = connection.execute(
        f"""
        SELECT run_name AS key, {_SUMS}, count(DISTINCT iif(run_selected, NULL, run)) AS late_runs,
            count(DISTINCT iif(run_selected OR run_error IS NULL, NULL, run)) AS late_failed_runs
        FROM {_in_runs(by, where, where)} GROUP BY 1
        """,
        2 * parameters,
    ).fetchall()
    whole = fsum(row["cost_usd"] or 0.0 for row in found)
    spent: dict[str | None, Spending] = {}
    counted: dict[str | None, tuple[int, int]] = {}
    for row in found:
        sums = dict(row)
        key, counted[key] = sums["key"], (sums.pop("late_runs"), sums.pop("late_failed_runs"))
        spent[key] = Spending(**sums, unpriced_reasons=reasons[key], share=_ratio(sums["cost_usd"], whole))
    for name, runs, failed in connection.execute(
        f"SELECT name, count(*), count(error_type) FROM steps WHERE kind = '{by}' AND {where} GROUP BY 1", parameters
    ):
        late_runs, late_failed = counted.get(name, (0, 0))
        counted[name] = (runs + late_runs, failed + late_failed)
    rows = [
        _with_runs(spent[key] if key in spent else replace(total(()), key=key), *runs) for key, runs in counted.items()
    ]
    return sorted(
        rows, key=lambda row: (row.cost_usd is None, -(row.cost_usd or 0.0), -row.calls, -row.runs, row.key or "")
    )


def _with_runs(spent: Spending, runs: int, failed_runs: int, inside: Spending | None = None) -> RunSpending:
    """Add the runs to a row, and the means of the calls `inside` them: all those of the row by default."""
    inside = inside or spent
    return RunSpending(
        **{field.name: getattr(spent, field.name) for field in fields(Spending)},
        runs=runs,
        failed_runs=failed_runs,
        calls_per_run=_ratio(inside.calls, runs),
        tokens_per_run=_ratio(inside.input_tokens + inside.output_tokens, runs),
        cost_per_run=_ratio(inside.cost_usd, runs),
    )


def _in_runs(by: Dimension, calls: str, runs: str) -> str:
    """Return, as a table in SQL, the calls that meet a condition, and the run of that kind which each is in.

    Rows come in any order, those of a step after those of the calls inside, perhaps from another process: what is
    inside of what is read from the parents when it is asked for.

    Args:
        by: Kind of step.
        calls: Condition on calls; its parameters come first.
        runs: Condition on steps, for `run_selected`.
    """
    # Without the limit of the inner table, SQLite would look for the run once for each use of it.
    return f"""
        (SELECT *, (
            WITH RECURSIVE around (parent, run) AS (
                SELECT calls.parent_span_id, NULL
                UNION ALL
                SELECT iif(steps.span_id IS NULL, outer_calls.parent_span_id, steps.parent_span_id),
                    iif(steps.kind = '{by}', steps.rowid, NULL)
                FROM around
                LEFT JOIN steps ON steps.trace_id = calls.trace_id AND steps.span_id = around.parent
                LEFT JOIN calls AS outer_calls ON steps.span_id IS NULL
                    AND outer_calls.trace_id = calls.trace_id AND outer_calls.span_id = around.parent
                WHERE around.run IS NULL AND around.parent IS NOT NULL
                LIMIT {_MOST_AROUND}
            )
            SELECT run FROM around WHERE run IS NOT NULL
        ) AS run FROM calls WHERE {calls} LIMIT -1)
        LEFT JOIN (
            SELECT rowid AS run, name AS run_name, error_type AS run_error, ({runs}) AS run_selected FROM steps
        ) USING (run)
    """


def total(rows: Iterable[Spending]) -> Spending:
    """Return the sum of the rows; of `RunSpending`, likewise one."""
    rows = list(rows)
    whole = _sum(rows)
    runs = [row for row in rows if isinstance(row, RunSpending)]
    if not runs:
        return whole
    inside = _sum([row for row in runs if row.key is not None])
    return _with_runs(whole, sum(row.runs for row in runs), sum(row.failed_runs for row in runs), inside)


def _sum(rows: Sequence[Spending]) -> Spending:
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
        latency_s=_ratio(fsum(row.succeeded * (row.latency_s or 0.0) for row in rows), succeeded),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        cost_usd=cost_usd,
        share=_ratio(cost_usd, cost_usd),
    )


def outcome_costs(
    connection: sqlite3.Connection, by: Dimension, selection: Selection = EVERYTHING
) -> list[OutcomeCost]:
    """Return the cost of each outcome in each feature where it was recorded.

    By tenant, user, session or prompt version, those within the feature that never had the outcome are
    there too: what they spent is part of its price.
    """
    key = _SHARED_KEYS.get(by, "NULL")
    where, parameters = selection.where("at_ns")
    counted: dict[tuple[str, str | None], dict[str | None, tuple[int, float]]] = defaultdict(dict)
    for name, feature, value, outcomes, amount in connection.execute(
        f"SELECT name, feature, {key}, count(*), sum(value) FROM outcomes WHERE {where} GROUP BY 1, 2, 3 ORDER BY 1, 2",
        parameters,
    ):
        counted[name, feature][value] = (outcomes, amount)
    if not counted:
        return []
    where, parameters = selection.where("started_ns")
    spent: dict[str | None, dict[str | None, tuple[int, int, float | None]]] = defaultdict(dict)
    for feature, value, calls, unpriced, cost_usd in connection.execute(
        f"SELECT feature, {key}, count(*), count(unpriced), sum(cost_usd) FROM calls WHERE {where} GROUP BY 1, 2",
        parameters,
    ):
        spent[feature][value] = (calls, unpriced, cost_usd)
    costs = []
    for (name, feature), by_key in counted.items():
        in_feature = []
        for value in {**spent[feature], **by_key}:
            outcomes, amount = by_key.get(value, (0, 0.0))
            calls, unpriced, cost_usd = spent[feature].get(value, (0, 0, None))
            in_feature.append(
                OutcomeCost(
                    name=name,
                    feature=feature,
                    key=value,
                    outcomes=outcomes,
                    value=amount,
                    calls=calls,
                    unpriced=unpriced,
                    cost_usd=cost_usd,
                    cost_per_outcome=_ratio(cost_usd, outcomes),
                )
            )
        costs += sorted(in_feature, key=lambda cost: (-cost.outcomes, -(cost.cost_usd or 0.0)))
    return costs


def retries(connection: sqlite3.Connection, selection: Selection = EVERYTHING) -> Retries:
    """Return the hidden cost of retries. A call that was repeated for two reasons counts under both causes."""
    where, parameters = selection.where("started_ns")
    row = connection.execute(
        f"""
        SELECT count(*) AS calls, ifnull(sum(attempts - 1), 0) AS requests, count(unpriced) AS unpriced,
            sum(cost_usd) AS cost_usd, total(duration_s) AS duration_s
        FROM calls WHERE attempts > 1 AND {where}
        """,
        parameters,
    ).fetchone()
    causes = connection.execute(
        f"""
        SELECT cause.value, count(*) FROM calls, json_each(retry_causes) AS cause
        WHERE attempts > 1 AND {where} GROUP BY 1 ORDER BY 2 DESC, 1
        """,
        parameters,
    )
    return Retries(**row, causes={str(cause): count for cause, count in causes})


def trace(connection: sqlite3.Connection, trace_id: str) -> list[CallRecord | Step]:
    """Return the calls of one trace and the steps they were made in, oldest first; empty when there are none.

    The parent of each is the next one around it: spans between them are left out.

    Args:
        connection: From `Ledger.reading()`.
        trace_id: 32 hexadecimal digits.
    """
    steps = connection.execute("SELECT * FROM steps WHERE trace_id = ?", (trace_id,)).fetchall()
    calls = connection.execute("SELECT * FROM calls WHERE trace_id = ?", (trace_id,)).fetchall()
    found: dict[int, CallRecord | Step] = {step.span_id: step for step in map(step_of, steps)}
    # A span that is both is a call: it has a cost.
    found |= {entry.span_id: entry for entry in map(record_of, calls)}
    between = {span.span_id: span for span in found.values() if isinstance(span, Step) and span.kind is None}

    def placed(span: CallRecord | Step) -> CallRecord | Step:
        parent = span.parent_span_id
        for _ in between:
            if parent not in between:
                break
            parent = between[parent].parent_span_id
        return span if parent == span.parent_span_id else replace(span, parent_span_id=parent)

    return sorted(
        (placed(span) for span in found.values() if span.span_id not in between), key=lambda span: span.started_ns
    )


def traces(connection: sqlite3.Connection, prefix: str, limit: int = 10) -> list[str]:
    """Return the ids of traces that begin with `prefix`, at most `limit`."""
    rows = connection.execute(
        "SELECT DISTINCT trace_id FROM calls WHERE trace_id >= ? AND trace_id < ? LIMIT ?",
        (bounded(prefix), bounded(prefix) + "g", limit),  # "g" comes after every hexadecimal digit
    )
    return [row["trace_id"] for row in rows]


def last_trace(connection: sqlite3.Connection) -> str | None:
    """Return the id of the trace whose call started last."""
    row = connection.execute("SELECT trace_id FROM calls ORDER BY started_ns DESC LIMIT 1").fetchone()
    return None if row is None else row["trace_id"]


def last_call(connection: sqlite3.Connection) -> int | None:
    """When the last call started, in nanoseconds since the epoch; `None` when there is none."""
    latest: int | None = connection.execute("SELECT max(started_ns) FROM calls").fetchone()[0]
    return latest


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
