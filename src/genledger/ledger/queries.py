"""Queries of the ledger: reports of spend, cost per outcome, cost of retries.

Every function takes a connection from `Ledger.reading()`, so that several answers agree with each other.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from genledger.ledger.fields import METADATA, OUTCOME_NAME, RUNS
from genledger.ledger.query import ask
from genledger.ledger.run_spending import run_spending, total
from genledger.ledger.spending import EVERYTHING, Selection, Spending, fields_of, key_of, ratio, spending_by

_OF_OUTCOMES = frozenset({"tenant", "user", "session", "prompt_name", "prompt_version", "tag"})
"""The fields, besides the feature and the application's metadata, that cost per outcome is broken down by."""


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

    by: str
    rows: Sequence[Spending]
    total: Spending
    outcomes: list[OutcomeCost]
    retries: Retries


def report(connection: sqlite3.Connection, by: str, selection: Selection = EVERYTHING, zone: str = "UTC") -> Report:
    """Return everything that `genledger report` shows.

    Raises:
        QueryError: There is no such field.
    """
    rows = spending(connection, by, selection, zone)
    # A call counts for each of its tags.
    whole = total(spending_by(connection, None, selection) if by == "tag" else rows)
    return Report(by, rows, whole, outcome_costs(connection, by, selection), retries(connection, selection))


def nothing(by: str) -> Report:
    """Return the report of a ledger that does not exist yet."""
    return Report(by, [], total([]), [], Retries(0, 0, {}, 0, None, 0.0))


def spending(
    connection: sqlite3.Connection, by: str, selection: Selection = EVERYTHING, zone: str = "UTC"
) -> Sequence[Spending]:
    """Return spend by one field, most expensive first; by day, oldest first. By one of `RUNS`, `RunSpending`."""
    return run_spending(connection, by, selection) if by in RUNS else spending_by(connection, by, selection, zone)


def outcome_costs(connection: sqlite3.Connection, by: str, selection: Selection = EVERYTHING) -> list[OutcomeCost]:
    """Return the cost of each outcome in each feature where it was recorded.

    By tenant, user, session, prompt version, tag or metadata, those within the feature that never had the outcome are
    there too: what they spent is part of its price.
    """
    by = by if by in _OF_OUTCOMES or by.startswith(METADATA) else ""
    keys = fields_of(by or None)
    counted: dict[tuple[str, str | None], dict[str | None, tuple[int, float | None]]] = defaultdict(dict)
    asked = selection.query("outcomes", "outcome_value", by=(OUTCOME_NAME, "feature", *keys))
    for row in ask(connection, asked).rows:
        counted[row[OUTCOME_NAME], row["feature"]][key_of(row, by or None)] = (row["outcomes"], row["outcome_value"])
    if not counted:
        return []
    spent: dict[str | None, dict[str | None, tuple[int, int, float | None]]] = defaultdict(dict)
    for row in ask(connection, selection.query("calls", "unpriced", "cost", by=("feature", *keys))).rows:
        spent[row["feature"]][key_of(row, by or None)] = (row["calls"], row["unpriced"], row["cost"])
    costs = []
    for (name, feature), by_key in sorted(counted.items(), key=lambda item: (item[0][0], item[0][1] or "")):
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
