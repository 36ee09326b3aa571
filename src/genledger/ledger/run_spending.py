"""Spend of the runs of agents, workflows and tools: which run a call is in, and what one costs on the mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from math import fsum

from genledger.ledger.spending import SUMS, Dimension, Selection, Spending, ratio, reasons_of, sum_of

_MOST_AROUND = 1_000
"""Steps and calls that are looked at around one call: parents that go in a circle have no end."""


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


def run_spending(connection: sqlite3.Connection, by: Dimension, selection: Selection) -> list[RunSpending]:
    """Return spend by one of `RUNS`, most expensive first."""
    where, parameters = selection.where("started_ns")
    unpriced = in_runs(by, f"unpriced IS NOT NULL AND {where}", where)
    reasons = reasons_of(connection, by, unpriced, 2 * parameters)
    found = connection.execute(
        f"""
        SELECT run_name AS key, {SUMS}, count(DISTINCT iif(run_selected, NULL, run)) AS late_runs,
            count(DISTINCT iif(run_selected OR run_error IS NULL, NULL, run)) AS late_failed_runs
        FROM {in_runs(by, where, where)} GROUP BY 1
        """,
        2 * parameters,
    ).fetchall()
    whole = fsum(row["cost_usd"] or 0.0 for row in found)
    spent: dict[str | None, Spending] = {}
    counted: dict[str | None, tuple[int, int]] = {}
    for row in found:
        sums = dict(row)
        key, counted[key] = sums["key"], (sums.pop("late_runs"), sums.pop("late_failed_runs"))
        spent[key] = Spending(**sums, unpriced_reasons=reasons[key], share=ratio(sums["cost_usd"], whole))
    for name, runs, failed in connection.execute(
        f"SELECT name, count(*), count(error_type) FROM steps WHERE kind = '{by}' AND {where} GROUP BY 1", parameters
    ):
        late_runs, late_failed = counted.get(name, (0, 0))
        counted[name] = (runs + late_runs, failed + late_failed)
    rows = [
        _with_runs(spent[key] if key in spent else replace(sum_of(()), key=key), *runs) for key, runs in counted.items()
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
        calls_per_run=ratio(inside.calls, runs),
        tokens_per_run=ratio(inside.input_tokens + inside.output_tokens, runs),
        cost_per_run=ratio(inside.cost_usd, runs),
    )


def in_runs(by: str, calls: str, runs: str) -> str:
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
    whole = sum_of(rows)
    runs = [row for row in rows if isinstance(row, RunSpending)]
    if not runs:
        return whole
    inside = sum_of([row for row in runs if row.key is not None])
    return _with_runs(whole, sum(row.runs for row in runs), sum(row.failed_runs for row in runs), inside)
