"""Questions about calls and outcomes: metrics, by fields, over time.

Where the hourly rollups can answer, they do; the hours that they do not have yet, and the parts of hours at the ends
of a period or a local day, are read from the calls. Either way, the numbers are the same.
"""

from __future__ import annotations

import sqlite3
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from genledger.ledger.enclosing_runs import in_runs
from genledger.ledger.fields import FIELDS, METADATA, METRICS, OUTCOME_NAME, RUNS, SUMS, Field
from genledger.ledger.grains import HOUR_NS, Bucket, Grain, buckets
from genledger.shared.text import bounded

Operator = Literal["=", "!=", "~"]


class QueryError(ValueError):
    """A question cannot be asked. The message says what is wrong with it and what there is instead."""


class Filter(NamedTuple):
    """Condition on a field: it is one of the values (`=`), none of them (`!=`), or matches one of the globs (`~`).

    An empty value stands for calls that have none.
    """

    field: str
    operator: Operator
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question.

    Attributes:
        metrics: What is measured, by names of `METRICS`.
        by: What it is grouped by: names of `FIELDS`, `metadata.KEY`, or `outcome_name`.
        every: The grain of time; `None` for the whole period.
        where: Conditions, all of which hold.
        since_ns: Beginning of the period, in nanoseconds since the epoch; `None` for that of the ledger.
        until_ns: Its end, exclusive; `None` for now.
        zone: The time zone that days, weeks and months are cut in, by its IANA name.
        order: A metric or field, with `-` before it for the largest first. By default, time first, then the first
            metric, largest first.
        limit: Rows that are returned; 0 for all.
    """

    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    every: Grain | None = None
    where: tuple[Filter, ...] = ()
    since_ns: int | None = None
    until_ns: int | None = None
    zone: str = "UTC"
    order: str | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question found.

    Attributes:
        query: The question.
        since_ns: Beginning of the period; of the ledger's first call where the question has none.
        until_ns: Its end, exclusive.
        columns: `time` if there is a grain, the fields, and the metrics.
        rows: A mapping of each column; `time` is the beginning of the hour, day, week or month in ISO 8601, and a
            metric is `None` where it is unknown: a cost without a priced call, a ratio over nothing.
    """

    query: Query
    since_ns: int
    until_ns: int
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


def ask(connection: sqlite3.Connection, query: Query, *, rolled: bool = True) -> Answer:
    """Return the answer to a question.

    Args:
        connection: From `Ledger.reading()`.
        query: The question.
        rolled: Whether the hourly rollups may be used.

    Raises:
        QueryError: It names what there is not, or asks for what cannot be known.
    """
    _check(query)
    since_ns, until_ns = _period(connection, query)
    if query.every is None:
        start = datetime.fromtimestamp(since_ns // 1_000_000_000, UTC)
        pieces = [Bucket(since_ns, until_ns, start)] if since_ns < until_ns else []
    else:
        try:
            pieces = buckets(since_ns, until_ns, query.every, query.zone)
        except ValueError as error:
            raise QueryError(str(error)) from None
    found = _Rows(query, pieces)
    asked = {name: METRICS[name] for name in query.metrics}
    of_calls = [name for name, metric in asked.items() if metric.expression]
    if of_calls:
        found.add(_summed(connection, query, pieces, of_calls, rolled))
    if any(metric.distinct for metric in asked.values()):
        found.add(_counted(connection, query, pieces, [name for name, metric in asked.items() if metric.distinct]))
    if any(metric.share for metric in asked.values()):
        found.add(_ranked(connection, query, pieces, [name for name, metric in asked.items() if metric.share]))
    if any(metric.of == "cache_hits" for metric in asked.values()):
        found.add(_cache_hits(connection, query, pieces))
    if any(metric.of == "outcomes" for metric in asked.values()):
        found.join(_outcomes(connection, query, pieces))
    columns = (*(("time",) if query.every is not None else ()), *query.by, *query.metrics)
    return Answer(query, since_ns, until_ns, columns, found.ordered())


def field(name: str) -> Field:
    """Return a field by its name.

    Raises:
        QueryError: There is none; the message names the nearest.
    """
    if name in FIELDS:
        return FIELDS[name]
    if name.startswith(METADATA) and len(name) > len(METADATA):
        return Field(
            f"(SELECT value FROM json_each(metadata) WHERE key = {_literal(name[len(METADATA) :])})", shared=True
        )
    raise QueryError(_unknown("field", name, [*FIELDS, OUTCOME_NAME, f"{METADATA}KEY"]))


def _check(query: Query) -> None:
    if not query.metrics:
        raise QueryError(f"a question needs a metric; there are {', '.join(METRICS)}")
    for name in query.metrics:
        if name not in METRICS:
            raise QueryError(_unknown("metric", name, METRICS))
    grouped = [name for name in query.by if name != OUTCOME_NAME]
    conditions = [condition.field for condition in query.where if condition.field != OUTCOME_NAME]
    for name in (*grouped, *conditions):
        field(name)
    runs = {name for name in (*grouped, *conditions) if name in RUNS}
    if len(runs) > 1:
        raise QueryError(f"a question can be about one kind of step, not about {' and '.join(sorted(runs))}")
    own = [name for name in (*grouped, *conditions) if not field(name).shared]
    for name in query.metrics if own else ():
        table = METRICS[name].of
        missing = next((one for one in own if (table, one) not in _ALSO), None)
        if table != "calls" and missing is not None:
            raise QueryError(
                f"{name} cannot be asked by {missing}: {_WITHOUT[table]} has none. It has "
                f"{', '.join(one for one in FIELDS if field(one).shared or (table, one) in _ALSO)} and {METADATA}KEY"
            )
    if not any(METRICS[name].of == "outcomes" for name in query.metrics) and OUTCOME_NAME in (
        *query.by,
        *(condition.field for condition in query.where),
    ):
        raise QueryError(f"{OUTCOME_NAME} needs a metric of outcomes, such as cost_per_outcome")
    if query.order is not None and query.order.removeprefix("-") not in (*query.metrics, *query.by, "time"):
        raise QueryError(f"order {query.order!r} is none of the question's metrics and fields")


_ALSO = {("cache_hits", "model"), ("cache_hits", "provider")}
"""What answers of caches have beside the shared fields."""

_WITHOUT = {"outcomes": "an outcome", "cache_hits": "an answer of a cache"}


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no {kind} {name!r}; {meant}there are {', '.join(known)}"


def _literal(text: str) -> str:
    return "'" + bounded(text).replace("'", "''").replace("\0", "") + "'"


def _period(connection: sqlite3.Connection, query: Query) -> tuple[int, int]:
    until_ns = time.time_ns() if query.until_ns is None else query.until_ns
    if query.since_ns is not None:
        return query.since_ns, until_ns
    first = connection.execute(
        "SELECT min(at) FROM (SELECT min(started_ns) AS at FROM calls UNION ALL SELECT min(at_ns) FROM outcomes)"
    ).fetchone()[0]
    return (until_ns if first is None else first), until_ns


class _Source:
    """Where the rows of a question come from, in SQL: grouped by its fields, those that meet its conditions.

    Args:
        query: The question.
        table: `calls` or `outcomes`.
        at: The column with the time.
    """

    def __init__(self, query: Query, table: str = "calls", at: str = "started_ns") -> None:
        self.parameters: dict[str, str] = {}
        self._at = at
        self._table = table
        conditions = [one for one in query.where if one.field != OUTCOME_NAME or table == "outcomes"]
        self._keys = [name for name in query.by if name != OUTCOME_NAME]
        used = {*self._keys, *(one.field for one in conditions)}
        self._run = next((name for name in used if name in RUNS), None)
        self._tags = "tag" in self._keys
        self.is_rolled = all(name in FIELDS and FIELDS[name].rolled for name in used)
        self._where = [self._condition(self._expression(one.field), one) for one in conditions]
        self._where_rolled = [self._condition(one.field, one) for one in conditions] if self.is_rolled else []

    def keys(self, query: Query) -> list[str]:
        """Return the fields that rows of this table are grouped by."""
        return list(query.by) if self._table == "outcomes" else self._keys

    def rows(self, query: Query, pieces: Sequence[tuple[int, int, int]], columns: Mapping[str, str]) -> str:
        """Return a SELECT of rows in the pieces of time: `bucket`, `key_0` and so on, and columns by their names."""
        keys = (f"{self._expression(name)} AS key_{number}" for number, name in enumerate(self.keys(query)))
        table = self._table
        if self._run is not None:
            period = f"started_ns >= {pieces[0][1]} AND started_ns < {pieces[-1][2]}"
            table = f"(SELECT * FROM {in_runs(self._run, period, 'TRUE')})"
        if self._tags:
            table += " LEFT JOIN json_each(tags) AS each_tag"
        return f"""
            SELECT bucket, {", ".join([*keys, *(f"{sql} AS {name}" for name, sql in columns.items())])}
            FROM {_values(pieces)} CROSS JOIN {table}
            WHERE {" AND ".join([f"{self._at} >= begin_at AND {self._at} < end_at", *self._where])}
        """

    def rolled(self, pieces: Sequence[tuple[int, int, int]], columns: Iterable[str]) -> str:
        """Likewise, of the rollups; the pieces are in hours since the epoch."""
        keys = (f"{name} AS key_{number}" for number, name in enumerate(self._keys))
        return f"""
            SELECT bucket, {", ".join([*keys, *columns])} FROM {_values(pieces)} CROSS JOIN rollups
            WHERE {" AND ".join(["hour >= begin_at AND hour < end_at", *self._where_rolled])}
        """

    def _expression(self, name: str) -> str:
        if name == OUTCOME_NAME:
            return "name"
        return name if (self._table, name) in _ALSO else field(name).expression

    def _condition(self, expression: str, condition: Filter) -> str:
        # Of a call that is not grouped by its tags, each of them counts, and the call once.
        among = "" if condition.field != "tag" or self._tags else "SELECT 1 FROM json_each(tags) AS each_tag"
        either = []
        for value in condition.values:
            if value:
                name = f"p{len(self.parameters)}"
                self.parameters[name] = bounded(value)
                equal = f"{expression} {'GLOB' if condition.operator == '~' else '='} :{name}"
                either.append(f"EXISTS ({among} WHERE {equal})" if among else equal)
            else:
                either.append(f"NOT EXISTS ({among})" if among else f"{expression} IS NULL")
        together = f"({' OR '.join(either) or 'FALSE'})"
        return f"NOT ifnull({together}, FALSE)" if condition.operator == "!=" else together


def _values(pieces: Sequence[tuple[int, int, int]]) -> str:
    rows = ", ".join(f"({bucket}, {begin}, {end})" for bucket, begin, end in pieces)
    return f"(SELECT column1 AS bucket, column2 AS begin_at, column3 AS end_at FROM (VALUES {rows}))"


def _whole(pieces: Sequence[Bucket]) -> list[tuple[int, int, int]]:
    return [(number, piece.begin_ns, piece.end_ns) for number, piece in enumerate(pieces)]


Key = tuple[int, tuple[Any, ...]]
Found = dict[Key, dict[str, Any]]


def _read(connection: sqlite3.Connection, sql: str, source: _Source, keys: int, names: Sequence[str]) -> Found:
    return {
        (row[0], tuple(row[1 : keys + 1])): dict(zip(names, row[keys + 1 :], strict=True))
        for row in map(tuple, connection.execute(sql, source.parameters))
    }


def _group(keys: int) -> str:
    return ", ".join(["bucket", *(f"key_{number}" for number in range(keys))])


def _summed(
    connection: sqlite3.Connection, query: Query, pieces: Sequence[Bucket], names: Sequence[str], rolled: bool
) -> Found:
    source = _Source(query)
    keys = len(source.keys(query))
    expressions = [METRICS[name].expression for name in names]
    sums = {name: sql for name, sql in SUMS.items() if any(f"({name})" in expression for expression in expressions)}
    of_calls, of_hours = _whole(pieces), _whole(())
    if rolled and source.is_rolled:
        of_calls, of_hours = _split(connection, pieces)
    selects = [source.rows(query, of_calls, sums)] if of_calls else []
    if of_hours:
        selects.append(source.rolled(of_hours, sums))
    if not selects:
        return {}
    sql = f"""
        SELECT {", ".join([_group(keys), *expressions])} FROM ({" UNION ALL ".join(selects)}) GROUP BY {_group(keys)}
        {_largest(query, keys)}
    """
    return _read(connection, sql, source, keys, names)


def _largest(query: Query, keys: int) -> str:
    """Return what leaves only the rows that the answer has, if sums alone tell: there may be a group for each trace."""
    first = query.metrics[0]
    sums = all(METRICS[name].expression and METRICS[name].of == "calls" for name in query.metrics)
    if not query.limit or query.every is not None or not sums or query.order not in (None, f"-{first}"):
        return ""
    amount = METRICS[first].expression
    names = (f"CAST(ifnull(key_{number}, 'None') AS TEXT)" for number in range(keys))
    return f"ORDER BY {', '.join([f'{amount} IS NULL', f'{amount} DESC', *names])} LIMIT {query.limit}"


def _split(
    connection: sqlite3.Connection, pieces: Sequence[Bucket]
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Return the pieces of time that are read from the calls, and those, in hours, that are read from the rollups."""
    of_calls, of_hours = _whole(()), _whole(())
    if not pieces:
        return [], []
    period = (pieces[0].begin_ns // HOUR_NS, pieces[-1].end_ns // HOUR_NS)
    found = connection.execute("SELECT hour FROM unrolled WHERE hour BETWEEN ? AND ? ORDER BY hour", period)
    unrolled = [row[0] for row in found]
    for number, piece in enumerate(pieces):
        first, last = -(-piece.begin_ns // HOUR_NS), piece.end_ns // HOUR_NS
        if first >= last:
            of_calls.append((number, piece.begin_ns, piece.end_ns))
            continue
        if piece.begin_ns < first * HOUR_NS:
            of_calls.append((number, piece.begin_ns, first * HOUR_NS))
        if piece.end_ns > last * HOUR_NS:
            of_calls.append((number, last * HOUR_NS, piece.end_ns))
        begin = first
        for hour in unrolled[bisect_left(unrolled, first) : bisect_left(unrolled, last)]:
            of_calls.append((number, hour * HOUR_NS, (hour + 1) * HOUR_NS))
            if begin < hour:
                of_hours.append((number, begin, hour))
            begin = hour + 1
        if begin < last:
            of_hours.append((number, begin, last))
    return sorted(of_calls, key=itemgetter(1)), of_hours


def _counted(connection: sqlite3.Connection, query: Query, pieces: Sequence[Bucket], names: Sequence[str]) -> Found:
    source = _Source(query)
    keys = len(source.keys(query))
    columns = {name: FIELDS[METRICS[name].distinct or ""].expression for name in names}
    counts = [f"count(DISTINCT {name})" for name in names]
    rows = source.rows(query, _whole(pieces), columns)
    sql = f"SELECT {', '.join([_group(keys), *counts])} FROM ({rows}) GROUP BY {_group(keys)}"
    return _read(connection, sql, source, keys, names) if pieces else {}


def _ranked(connection: sqlite3.Connection, query: Query, pieces: Sequence[Bucket], names: Sequence[str]) -> Found:
    source = _Source(query)
    keys = len(source.keys(query))
    group = _group(keys)
    rows = source.rows(query, _whole(pieces), {"seconds": "iif(outcome = 'success', duration_s, NULL)"})
    marks = [f"min(iif(place >= {METRICS[name].share} * many, seconds, NULL))" for name in names]
    sql = f"""
        SELECT {", ".join([group, *marks])} FROM (
            SELECT *, row_number() OVER (PARTITION BY {group} ORDER BY seconds) AS place,
                count(*) OVER (PARTITION BY {group}) AS many
            FROM ({rows}) WHERE seconds IS NOT NULL
        ) GROUP BY {group}
    """
    return _read(connection, sql, source, keys, names) if pieces else {}


def _outcomes(connection: sqlite3.Connection, query: Query, pieces: Sequence[Bucket]) -> Found:
    source = _Source(query, "outcomes", "at_ns")
    keys = len(source.keys(query))
    rows = source.rows(query, _whole(pieces), {"amount": "outcomes.value", "money": "currency"})
    # Values in several currencies do not add up.
    value = "iif(count(DISTINCT ifnull(money, '')) = 1, sum(amount), NULL)"
    sql = f"SELECT {_group(keys)}, count(*), {value} FROM ({rows}) GROUP BY {_group(keys)}"
    return _read(connection, sql, source, keys, ("outcomes", "outcome_value")) if pieces else {}


def _cache_hits(connection: sqlite3.Connection, query: Query, pieces: Sequence[Bucket]) -> Found:
    source = _Source(query, "cache_hits", "at_ns")
    keys = len(source.keys(query))
    rows = source.rows(query, _whole(pieces), {"amount": "saved_usd"})
    sql = f"SELECT {_group(keys)}, count(*), sum(amount) FROM ({rows}) GROUP BY {_group(keys)}"
    return _read(connection, sql, source, keys, ("cache_hits", "saved")) if pieces else {}


class _Rows:
    """The rows of an answer, put together from what is known of calls and of outcomes."""

    def __init__(self, query: Query, pieces: Sequence[Bucket]) -> None:
        self._query = query
        self._pieces = pieces
        self._found: Found = {}

    def add(self, found: Found) -> None:
        """Take in metrics of calls."""
        for key, values in found.items():
            self._found.setdefault(key, {}).update(values)

    def join(self, outcomes: Found) -> None:
        """Take in outcomes, and divide by them what is asked for each."""
        named = self._query.by.index(OUTCOME_NAME) if OUTCOME_NAME in self._query.by else None
        ratios = [name for name in self._query.metrics if METRICS[name].of == "outcomes" and METRICS[name].expression]
        joined: Found = {}
        seen = set()
        for (bucket, keys), counted in outcomes.items():
            of_calls = (bucket, keys if named is None else (*keys[:named], *keys[named + 1 :]))
            seen.add(of_calls)
            spent = self._found.get(of_calls, {})
            each = {name: _ratio(spent.get(name), counted["outcomes"]) for name in ratios}
            joined[bucket, keys] = {**spent, **counted, **each}
        for (bucket, keys), spent in self._found.items():
            if (bucket, keys) not in seen:
                whole = keys if named is None else (*keys[:named], None, *keys[named:])
                nothing = {"outcomes": 0, "outcome_value": 0.0, **dict.fromkeys(ratios)}
                joined[bucket, whole] = {**spent, **nothing}
        self._found = joined

    def ordered(self) -> list[dict[str, Any]]:
        """Return the rows in the order that the question asks for."""
        query = self._query
        nothing = nothing_of(query.metrics)
        rows = []
        for (bucket, keys), values in self._found.items():
            start = {} if query.every is None else {"time": self._pieces[bucket].start.isoformat()}
            known = {name: values.get(name, nothing[name]) for name in query.metrics}
            rows.append({**start, **dict(zip(query.by, keys, strict=True)), **known})
        return arranged(rows, query)[: query.limit or None]


_COUNTED = frozenset({"calls", "hits", "tokens", "requests", "outcomes", "users", "sessions", "traces"})


def nothing_of(metrics: Iterable[str]) -> dict[str, int | None]:
    """Return what each metric is where there are no calls: 0 of what is counted; a cost or a ratio is unknown."""
    asked = {name: METRICS[name] for name in metrics}
    return {name: 0 if metric.unit in _COUNTED and not metric.is_ratio else None for name, metric in asked.items()}


def arranged(rows: Iterable[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    """Return rows in the order of a question: by any column of theirs, what is unknown last."""
    first = query.metrics[0]
    found = sorted(
        rows, key=lambda row: (_when(row), row[first] is None, -(row[first] or 0), [str(row[by]) for by in query.by])
    )
    if query.order is not None:
        name, down = query.order.removeprefix("-"), query.order.startswith("-")
        found.sort(key=lambda row: _order(_when(row) if name == "time" else row[name], down), reverse=down)
    return found


def _when(row: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(row["time"]).timestamp() if "time" in row else 0.0


def _order(value: Any, down: bool) -> tuple[bool, Any]:
    """Return what puts unknown values last."""
    return (value is None) is not down, value if value is not None else 0


def _ratio(part: float | None, whole: float) -> float | None:
    return part / whole if part is not None and whole else None
