"""Queries of the ledger: reports of spend, cost per outcome, cost of retries.

Every function takes a connection from `Ledger.reading()`, so that several answers agree with each other.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from genledger.ledger.run_spending import run_spending, total
from genledger.ledger.spending import EVERYTHING, PROMPT, RUNS, Dimension, Selection, Spending, ratio, spending_by

_SHARED_KEYS: dict[Dimension, str] = {
    "tenant": "tenant",
    "user": "user",
    "session": "session",
    "prompt_version": PROMPT,
}
"""The dimensions, besides the feature, that product events have in common with calls."""


@dataclass(slots=True, frozen=True)
class OutcomeCost:
    """Cost per outcome: the spend of a feature, divided by how often the outcome was recorded there.

    `key` is the tenant, user, session or prompt version, when the report is by one of these. `value` is the
    sum of the values recorded, `None` if they are in several currencies. `cost_per_outcome` leaves out the `unpriced`
    calls, and is `None` when there is nothing to divide, or nothing to divide by.
    """

    name: str
    feature: str | None
    key: str | None
    outcomes: int
    value: float | None
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
    """Return spend by one dimension, most expensive first; by day, oldest first. By one of `RUNS`, `RunSpending`."""
    return run_spending(connection, by, selection) if by in RUNS else spending_by(connection, by, selection)


def outcome_costs(
    connection: sqlite3.Connection, by: Dimension, selection: Selection = EVERYTHING
) -> list[OutcomeCost]:
    """Return the cost of each outcome in each feature where it was recorded.

    By tenant, user, session or prompt version, those within the feature that never had the outcome are
    there too: what they spent is part of its price.
    """
    key = _SHARED_KEYS.get(by, "NULL")
    where, parameters = selection.where("at_ns")
    counted: dict[tuple[str, str | None], dict[str | None, tuple[int, float | None]]] = defaultdict(dict)
    for name, feature, value, outcomes, amount in connection.execute(
        f"""
        SELECT name, feature, {key}, count(*), iif(count(DISTINCT ifnull(currency, '')) = 1, sum(value), NULL)
        FROM outcomes WHERE {where} GROUP BY 1, 2, 3 ORDER BY 1, 2
        """,
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
                    cost_per_outcome=ratio(cost_usd, outcomes),
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
