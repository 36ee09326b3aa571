"""Spend of the runs of agents, workflows and tools, and what one costs on the mean."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from genledger.ledger.enclosing_runs import in_runs
from genledger.ledger.spending import Selection, Spending, ratio, spending_by, sum_of


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


def run_spending(connection: sqlite3.Connection, by: str, selection: Selection) -> list[RunSpending]:
    """Return spend by one of `RUNS`, most expensive first."""
    spent = {row.key: row for row in spending_by(connection, by, selection)}
    where, parameters = selection.where("started_ns")
    late = connection.execute(
        f"""
        SELECT run_name, count(DISTINCT iif(run_selected, NULL, run)),
            count(DISTINCT iif(run_selected OR run_error IS NULL, NULL, run))
        FROM {in_runs(by, where, where)} GROUP BY 1
        """,
        2 * parameters,
    )
    counted: dict[str | None, tuple[int, int]] = dict.fromkeys(spent, (0, 0))
    counted |= {name: (runs, failed) for name, runs, failed in late}
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


def total(rows: Iterable[Spending]) -> Spending:
    """Return the sum of the rows; of `RunSpending`, likewise one."""
    rows = list(rows)
    whole = sum_of(rows)
    runs = [row for row in rows if isinstance(row, RunSpending)]
    if not runs:
        return whole
    inside = sum_of([row for row in runs if row.key is not None])
    return _with_runs(whole, sum(row.runs for row in runs), sum(row.failed_runs for row in runs), inside)
