"""What reports on a week read of the ledger, beyond `query`: spend by session, its make-up, its endings, long outputs.

A *cluster* is the session of calls, or their trace where they have none: what happens in one is no independent
evidence. An outcome belongs to the cluster of its trace; one without a trace that made calls to its session.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import orjson

from genledger.ledger.fields import FIELDS, SUMS
from genledger.pricing.cost import Part

Unit = Literal["call", "trace"]
"""What an output is measured of."""

WHOLE = "whole"
"""The part of costs that providers report without their parts; its quantity is tokens, or else calls."""

_OUTPUT = SUMS["output_tokens"]
_TOKENS = f"{SUMS['input_tokens']} + {_OUTPUT}"
_CLUSTER = "ifnull(session, trace_id)"
_MODEL = f"provider || '/' || ifnull({FIELDS['model'].expression}, '')"
_HAS_CALLS = "EXISTS (SELECT 1 FROM calls WHERE calls.trace_id = outcomes.trace_id)"
_LOST_ATTEMPTS = "includes_lost_attempts:"
_WITHIN = "started_ns >= :begin_ns AND started_ns < :end_ns"


class Period(NamedTuple):
    """From `begin_ns` to before `end_ns`, in nanoseconds since the epoch."""

    begin_ns: int
    end_ns: int


class ClusterSpend(NamedTuple):
    """Calls of one session, or of one trace without a session; `cost` is that of the `priced` ones, in USD."""

    tenant: str | None
    feature: str | None
    cluster: str
    calls: int
    priced: int
    tokens: int
    cost: float


class ClusterOutcome(NamedTuple):
    """Outcomes of one name in a cluster. `successes` are those with a value above 0; `joined`: to calls, surely."""

    tenant: str | None
    feature: str | None
    name: str
    cluster: str
    outcomes: int
    successes: int
    joined: bool


class Revenue(NamedTuple):
    """Sum of the outcomes with a currency."""

    tenant: str | None
    feature: str | None
    currency: str
    amount: float


@dataclass(slots=True)
class Composition:
    """What the calls of one tenant, feature and model consisted of.

    Attributes:
        calls: Billed calls: priced and unpriced.
        priced: The priced ones.
        parts: Quantity and cost in USD, by usage bucket or unit, of the priced ones.
    """

    calls: int = 0
    priced: int = 0
    parts: dict[str, tuple[float, float]] = field(default_factory=dict)


Ending = Literal["failed", "cancelled", "answered"]
"""How calls ended: `failed` are errors, timeouts and rate limits."""


class Ended(NamedTuple):
    """Calls that ended alike, in traces that all had a success, or none (`won`)."""

    feature: str | None
    ending: Ending
    won: bool
    calls: int
    cost: float


class LostAttempts(NamedTuple):
    """A call that was answered, with earlier attempts in its cost whose answers never came."""

    feature: str | None
    won: bool
    cost: float
    parts: tuple[Part, ...]
    attempts: int


class LongOutput(NamedTuple):
    """A call, or the calls of a trace in one feature, and their output; `span` is `None` for a trace."""

    trace: str
    span: str | None
    tenant: str | None
    feature: str | None
    model: str | None
    calls: int
    output_tokens: int
    cost: float | None


def cluster_spend(connection: sqlite3.Connection, period: Period) -> list[ClusterSpend]:
    """Return what each cluster spent, apart for each tenant and feature in it."""
    rows = connection.execute(
        f"""
        SELECT tenant, feature, {_CLUSTER} AS cluster, count(*), count(cost_usd), sum({_TOKENS}), total(cost_usd)
        FROM calls WHERE {_WITHIN} GROUP BY 1, 2, 3
        """,
        period._asdict(),
    )
    return [ClusterSpend(*row) for row in rows]


def cluster_outcomes(connection: sqlite3.Connection, period: Period) -> list[ClusterOutcome]:
    """Return the outcomes of a period, by the cluster that they belong to. One without any is a cluster by itself."""
    rows = connection.execute(
        f"""
        SELECT tenant, feature, name, ifnull(of_trace, ifnull(session, 'outcome ' || id)) AS cluster, count(*),
            sum(value > 0), of_trace IS NOT NULL OR session IS NOT NULL AS joined
        FROM (
            SELECT *, rowid AS id,
                (SELECT {_CLUSTER} FROM calls WHERE calls.trace_id = outcomes.trace_id LIMIT 1) AS of_trace
            FROM outcomes WHERE at_ns >= :begin_ns AND at_ns < :end_ns
        ) GROUP BY 1, 2, 3, 4, 7
        """,
        period._asdict(),
    )
    return [ClusterOutcome(*row)._replace(joined=bool(row[6])) for row in rows]


def compositions(
    connection: sqlite3.Connection, period: Period
) -> Mapping[tuple[str | None, str | None, str], Composition]:
    """Return what spend consisted of, by tenant, feature, and provider and model. This reads every call's cost."""
    found: dict[tuple[str | None, str | None, str], Composition] = defaultdict(Composition)
    rows = connection.execute(
        f"""
        SELECT tenant, feature, {_MODEL} AS model, sum(cost_usd IS NOT NULL OR unpriced IS NOT NULL), count(cost_usd),
            sum(cost_usd IS NOT NULL AND cost_parts IS NULL), total(iif(cost_parts IS NULL, cost_usd, 0)),
            sum(iif(cost_parts IS NULL AND cost_usd IS NOT NULL, {_TOKENS}, 0))
        FROM calls WHERE {_WITHIN} GROUP BY 1, 2, 3
        """,
        period._asdict(),
    )
    for tenant, feature, model, calls, priced, whole_calls, whole_cost, whole_tokens in rows:
        parts = {WHOLE: (whole_tokens or whole_calls, whole_cost)} if whole_calls else {}
        found[tenant, feature, model] = Composition(calls, priced, parts)
    rows = connection.execute(
        f"""
        SELECT tenant, feature, {_MODEL} AS model, json_extract(part.value, '$[0]') AS bucket,
            total(json_extract(part.value, '$[1]')), total(json_extract(part.value, '$[3]'))
        FROM calls CROSS JOIN json_each(cost_parts) AS part WHERE {_WITHIN} AND cost_usd IS NOT NULL
        GROUP BY 1, 2, 3, 4
        """,
        period._asdict(),
    )
    for tenant, feature, model, bucket, quantity, cost in rows:
        found[tenant, feature, model].parts[bucket] = (quantity, cost)
    return found


def endings(connection: sqlite3.Connection, period: Period) -> list[Ended]:
    """Return how the calls of a period ended, and whether their trace, or its session, had a success until now."""
    rows = connection.execute(
        f"SELECT feature, ending, won, count(*), total(cost_usd) FROM ({_ENDED}) GROUP BY 1, 2, 3", period._asdict()
    )
    return [Ended(row[0], row[1], bool(row[2]), row[3], row[4]) for row in rows]


def lost_attempts(connection: sqlite3.Connection, period: Period) -> Iterator[LostAttempts]:
    """Return the answered calls whose cost includes attempts that were sent and never answered."""
    rows = connection.execute(
        f"""
        SELECT feature, won, cost_usd, cost_parts, cost_notes FROM ({_ENDED})
        WHERE ending = 'answered' AND cost_usd IS NOT NULL AND instr(cost_notes, '{_LOST_ATTEMPTS}') > 0
        """,
        period._asdict(),
    )
    for feature, won, cost, parts, notes in rows:
        (lost,) = (note for note in orjson.loads(notes) if note.startswith(_LOST_ATTEMPTS))
        each = tuple(Part(*part) for part in orjson.loads(parts)) if parts else ()
        yield LostAttempts(feature, bool(won), cost, each, int(lost.removeprefix(_LOST_ATTEMPTS)))


def traces_won(connection: sqlite3.Connection, period: Period) -> Mapping[str | None, tuple[int, int]]:
    """Return how many traces of each feature had a success, and how many there were."""
    rows = connection.execute(
        f"""
        SELECT feature, count(DISTINCT iif(won, trace_id, NULL)), count(DISTINCT trace_id) FROM ({_ENDED}) GROUP BY 1
        """,
        period._asdict(),
    )
    return {feature: (won, traces) for feature, won, traces in rows}


def revenue(connection: sqlite3.Connection, period: Period) -> list[Revenue]:
    """Return the sums of the outcomes of a period that have a currency."""
    rows = connection.execute(
        """
        SELECT tenant, feature, currency, total(value) FROM outcomes
        WHERE at_ns >= :begin_ns AND at_ns < :end_ns AND currency IS NOT NULL GROUP BY 1, 2, 3
        """,
        period._asdict(),
    )
    return [Revenue(*row) for row in rows]


def output_lengths(connection: sqlite3.Connection, period: Period, unit: Unit) -> Iterator[tuple[str | None, int, int]]:
    """Return how often each count of output tokens occurred: feature, tokens, calls or traces; the shortest first."""
    each = "" if unit == "call" else "GROUP BY feature, trace_id"
    output = _OUTPUT if unit == "call" else f"sum({_OUTPUT})"
    rows = connection.execute(
        f"""
        SELECT feature, tokens, count(*) FROM (SELECT feature, {output} AS tokens FROM calls WHERE {_WITHIN} {each})
        WHERE tokens > 0 GROUP BY 1, 2 ORDER BY 1, 2
        """,
        period._asdict(),
    )
    return (tuple(row) for row in rows)


def long_outputs(
    connection: sqlite3.Connection, period: Period, unit: Unit, feature: str | None, above: float, limit: int
) -> list[LongOutput]:
    """Return the calls or traces of a feature with more output than this, longest first."""
    each = ", span_id" if unit == "call" else ""
    span = "span_id" if unit == "call" else "NULL"
    rows = connection.execute(
        f"""
        SELECT trace_id, {span}, min(tenant), feature, max({FIELDS["model"].expression}), count(*),
            sum({_OUTPUT}) AS tokens, sum(cost_usd)
        FROM calls WHERE {_WITHIN} AND feature IS :feature GROUP BY trace_id{each} HAVING tokens > :above
        ORDER BY tokens DESC, trace_id LIMIT :limit
        """,
        {**period._asdict(), "feature": feature, "above": above, "limit": limit},
    )
    return [LongOutput(*row) for row in rows]


# Late outcomes count: those after the period, too.
_ENDED = f"""
    SELECT *, CASE WHEN {SUMS["errors"]} THEN 'failed' WHEN outcome = 'cancelled' THEN 'cancelled' ELSE 'answered' END
        AS ending,
        trace_id IN (SELECT trace_id FROM outcomes WHERE at_ns >= :begin_ns AND value > 0 AND trace_id IS NOT NULL)
        OR ifnull(session IN (
            SELECT session FROM outcomes
            WHERE at_ns >= :begin_ns AND value > 0 AND session IS NOT NULL AND NOT {_HAS_CALLS}
        ), FALSE) AS won
    FROM calls WHERE {_WITHIN}
"""
