"""Questions as SQL that Grafana's SQLite data source sends: the same sums as `genledger query`, with its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from genledger.ledger.fields import FIELDS, METRICS, OUTCOME_NAME, RUNS, SUMS
from genledger.ledger.query import Filter, Query

_MS = 1_000_000
_SECONDS = {"hour": 3_600, "day": 86_400}

VARIABLES = ("tenant", "feature", "model")
"""Fields that a dashboard's reader chooses values of."""

ALL = "'*'"
"""What stands in for a variable whose reader has chosen all its values."""

_OUTCOME_FIELDS = {OUTCOME_NAME: "name", "currency": "currency"}
"""What only outcomes have."""

_HITS = {"cache_hits": "count(*)", "saved": "sum(saved_usd)"}
_HIT_FIELDS = {"tenant": "tenant", "feature": "feature", "provider": "provider", "model": "model"}


class Shape(NamedTuple):
    """How an answer is cut, beside what the question says.

    Attributes:
        over_time: Whether there is a column `time`, in seconds since the epoch. Without a grain in the question, it is
            that of Grafana's interval.
        hours: The last so many hours, each a column of its own, in place of the period.
        least_outcomes: Rows with fewer outcomes are left out.
    """

    over_time: bool = False
    hours: Mapping[str, int] = {}
    least_outcomes: int = 0


def sql(query: Query, shape: Shape) -> str | None:
    """Return a question in SQL, or `None` if the ledger's tables cannot answer it in one statement."""
    fields = {*query.by, *(one.field for one in query.where)}
    if all(name in _HITS for name in query.metrics):
        return _statement(query, shape, _hits(query, shape)) if fields <= _HIT_FIELDS.keys() else None
    if fields & (RUNS | {"tag"}) or not fields <= {*FIELDS, *_OUTCOME_FIELDS}:
        return None
    if not all(name in METRICS and name not in _HITS for name in query.metrics):
        return None
    known = [METRICS[name] for name in query.metrics]
    if any(metric.of == "outcomes" for metric in known):
        return _statement(query, shape, _joined(query, shape))
    if any(metric.share for metric in known):
        return _statement(query, shape, _ranked(query, shape))
    if not all(metric.expression for metric in known):
        return None
    return _statement(query, shape, _summed(query, shape, query.metrics))


def options(field: str) -> str:
    """Return the SQL of a variable's values."""
    named = f"{_expression(field)} IS NOT NULL"
    return f"SELECT DISTINCT {_expression(field)} FROM calls WHERE {named} AND {_period('started_ns')} ORDER BY 1"


def _statement(query: Query, shape: Shape, rows: str) -> str:
    columns = ["time"] if shape.over_time else []
    columns += [f"ifnull({name}, '(none)') AS {name}" for name in query.by]
    columns += list(shape.hours) or list(query.metrics)
    order = "time" if shape.over_time else f"{list(shape.hours)[-1] if shape.hours else query.metrics[0]} DESC"
    # A group that has nothing of a sum would only be in the legend.
    some = _is_sum(query.metrics[0]) and query.by and len(query.metrics) == 1 and not shape.hours
    where = f"\nWHERE {query.metrics[0]} > 0" if some else ""
    limit = f"\nLIMIT {query.limit}" if query.limit and not shape.over_time else ""
    return f"SELECT {', '.join(columns)}\nFROM (\n{_indented(rows)}\n){where}\nORDER BY {order}{limit}"


def _is_sum(metric: str) -> bool:
    return METRICS[metric].unit not in ("s", "1")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _summed(query: Query, shape: Shape, names: Sequence[str]) -> str:
    """One row for each group of calls: the metrics."""
    wanted = {name: METRICS[name].expression for name in names}
    sums = [f"{text} AS {name}" for name, text in SUMS.items() if any(f"({name})" in one for one in wanted.values())]
    recent = [
        f"iif(started_ns >= ($__to - {hours * 3_600_000}) * {_MS}, 1, NULL) AS in_{column}"
        for column, hours in shape.hours.items()
    ]
    if recent:
        (name,) = names
        measured = [f"{wanted[name].replace(')', f' * in_{column})')} AS {column}" for column in shape.hours]
    else:
        measured = [f"{text} AS {name}" for name, text in wanted.items()]
    longest = max(shape.hours.values(), default=0)
    rows = _rows(query, shape, [*sums, *recent], longest)
    return (
        f"SELECT {', '.join([*_group(query, shape), *measured])}\nFROM (\n{_indented(rows)}\n){_grouped(query, shape)}"
    )


def _rows(query: Query, shape: Shape, columns: Sequence[str], hours: int = 0) -> str:
    keys = [f"{_expression(name)} AS {name}" for name in query.by]
    conditions = [_period("started_ns", hours), *_chosen(VARIABLES), *map(_condition, query.where)]
    if query.limit and shape.over_time:
        conditions.append(_among_largest(query))
    selected = [*_time(query, shape, "started_ns"), *keys, *columns]
    return f"SELECT {', '.join(selected)}\nFROM calls\nWHERE {f'{chr(10)}  AND '.join(conditions)}"


def _among_largest(query: Query) -> str:
    """The condition that a call is in one of the groups that are largest over the whole period."""
    (name,), metric = query.by, query.metrics[0]
    whole = Query(metrics=(metric,), by=query.by, where=query.where)
    rows = _summed(whole, Shape(), (metric,))
    return f"{_value(name)} IN (SELECT ifnull({name}, '') FROM ({rows}) ORDER BY {metric} DESC LIMIT {query.limit})"


def _ranked(query: Query, shape: Shape) -> str:
    """The least duration that so large a share of the successful calls of a group is not longer than."""
    group = _group(query, shape)
    rows = _rows(query, shape, ["duration_s AS seconds", "outcome AS ended"])
    partition = f"PARTITION BY {', '.join(group)} " if group else ""
    marks = [f"min(iif(place >= {METRICS[name].share} * many, seconds, NULL)) AS {name}" for name in query.metrics]
    placed = (
        f"SELECT *, row_number() OVER ({partition}ORDER BY seconds) AS place, count(*) OVER ({partition.strip()})"
        f" AS many\nFROM (\n{_indented(rows)}\n)\nWHERE ended = 'success'"
    )
    return f"SELECT {', '.join([*group, *marks])}\nFROM (\n{_indented(placed)}\n){_grouped(query, shape)}"


def _joined(query: Query, shape: Shape) -> str:
    """Outcomes, beside what the calls cost that they are divided into: ratios of sums."""
    of_calls = [name for name in query.metrics if METRICS[name].expression]
    conditions = [_period("at_ns"), *_chosen(("tenant", "feature")), *map(_condition, query.where)]
    keys = [f"{_expression(name)} AS {name}" for name in query.by]
    selected = [*_time(query, shape, "at_ns"), *keys, "count(*) AS outcomes", "sum(value) AS outcome_value"]
    counted = (
        f"SELECT {', '.join(selected)}\nFROM outcomes\nWHERE {f'{chr(10)}  AND '.join(conditions)}"
        f"{_grouped(query, shape)}"
    )
    if shape.least_outcomes:
        counted += f"\nHAVING count(*) >= {shape.least_outcomes}"
    if not of_calls:
        return counted
    by_calls = tuple(name for name in query.by if name not in _OUTCOME_FIELDS)
    where = tuple(one for one in query.where if one.field not in _OUTCOME_FIELDS)
    spent = _summed(Query(metrics=query.metrics, by=by_calls, every=query.every, where=where), shape, of_calls)
    whole = by_calls != query.by or shape.over_time
    first, second = ("counted", "spent") if whole else ("spent", "counted")
    matched = [f"spent.{name} IS counted.{name}" for name in (*(("time",) if shape.over_time else ()), *by_calls)]
    columns = [f"{first}.time"] if shape.over_time else []
    columns += [f"{'counted' if name in _OUTCOME_FIELDS else first}.{name}" for name in query.by]
    columns += [_measure(name) for name in query.metrics]
    return (
        f"SELECT {', '.join(columns)}\nFROM (\n{_indented(counted if whole else spent)}\n) AS {first}\nLEFT JOIN (\n"
        f"{_indented(spent if whole else counted)}\n) AS {second} ON {' AND '.join(matched) or 'TRUE'}"
    )


def _measure(name: str) -> str:
    metric = METRICS[name]
    if metric.of == "outcomes" and metric.expression:
        return f"1.0 * spent.{name} / counted.outcomes AS {name}"
    return f"ifnull(counted.{name}, 0) AS {name}" if metric.of == "outcomes" else f"spent.{name}"


def _hits(query: Query, shape: Shape) -> str:
    conditions = [_period("at_ns"), *_chosen(("tenant", "feature"))]
    selected = [*_time(query, shape, "at_ns"), *(f"{_HIT_FIELDS[name]} AS {name}" for name in query.by)]
    selected += [f"{_HITS[name]} AS {name}" for name in query.metrics]
    return (
        f"SELECT {', '.join(selected)}\nFROM cache_hits\nWHERE {f'{chr(10)}  AND '.join(conditions)}"
        f"{_grouped(query, shape)}"
    )


def _group(query: Query, shape: Shape) -> list[str]:
    return [*(("time",) if shape.over_time else ()), *query.by]


def _grouped(query: Query, shape: Shape) -> str:
    columns = len(_group(query, shape))
    return f"\nGROUP BY {', '.join(str(number + 1) for number in range(columns))}" if columns else ""


def _time(query: Query, shape: Shape, at: str) -> list[str]:
    if not shape.over_time:
        return []
    if query.every is None:
        return [f"{at} / ($__interval_ms * {_MS}) * $__interval_ms / 1000 AS time"]
    seconds = _SECONDS[query.every]
    return [f"{at} / {seconds * 1_000 * _MS} * {seconds} AS time"]


def _period(at: str, hours: int = 0) -> str:
    begin = f"($__to - {hours * 3_600_000})" if hours else "$__from"
    return f"{at} >= {begin} * {_MS} AND {at} < $__to * {_MS}"


def _chosen(fields: Sequence[str]) -> list[str]:
    return [f"({ALL} IN (${{{name}:sqlstring}}) OR {_value(name)} IN (${{{name}:sqlstring}}))" for name in fields]


def _condition(condition: Filter) -> str:
    expression = _expression(condition.field)
    either = []
    for value in condition.values:
        quoted = "'" + value.replace("'", "''") + "'"
        operator = "GLOB" if condition.operator == "~" else "="
        either.append(f"{expression} {operator} {quoted}" if value else f"{expression} IS NULL")
    together = f"({' OR '.join(either)})"
    return f"NOT ifnull({together}, FALSE)" if condition.operator == "!=" else together


def _expression(name: str) -> str:
    return _OUTCOME_FIELDS.get(name) or FIELDS[name].expression


def _value(name: str) -> str:
    return f"ifnull({_expression(name)}, '')"
