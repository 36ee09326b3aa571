"""Questions as people put them: periods and conditions in words, and the period before to compare with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from genledger.ledger import Ledger, LedgerError, default_path
from genledger.ledger.grains import GRAINS, Grain, buckets
from genledger.ledger.query import Answer, Filter, Query, QueryError, arranged, ask, nothing_of
from genledger.reports.periods import before, between, epoch_ns, read_zone

Compare = Literal["previous"]

_CONDITION = re.compile(r"([^=!~]+)(!=|=|~)(.*)", re.DOTALL)
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Findings:
    """What a question found.

    Attributes:
        query: The question.
        columns: Of the rows: `time` if there is a grain, the fields, then each metric; in a comparison, each followed
            by `<metric>_before` and `<metric>_change`, the part by which it grew (0.25: by a quarter) or fell.
        rows: A mapping of each column. `None` is unknown: a cost without a priced call, growth from nothing.
        since: Beginning of the period.
        until: Its end, exclusive.
        compared: The period that it is compared with.
    """

    query: Query
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    since: datetime
    until: datetime
    compared: tuple[datetime, datetime] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in words. See `query` for what each means."""

    metrics: tuple[str, ...]
    by: tuple[str, ...] = ()
    every: str | None = None
    where: tuple[Filter, ...] = ()
    since: str = "7d"
    until: str | None = None
    tz: str = "UTC"
    compare: str | None = None
    order: str | None = None
    limit: int = 0

    def find(self, answer: Callable[[Query], Answer], now: datetime | None = None) -> Findings:
        """Return what there is to find.

        Args:
            answer: Answers questions about calls, as `genledger.ledger.query.ask` does.
            now: The current time, with a zone.

        Raises:
            QueryError: It names what there is not, or asks for what cannot be known.
            PeriodError: The period or time zone is not one.
        """
        now = now or datetime.now(UTC)
        zone = read_zone(self.tz)
        begin, end = between(self.since, self.until, self.tz, now)
        asked = Query(
            metrics=self.metrics,
            by=self.by,
            every=self._grain(),
            where=self.where,
            since_ns=epoch_ns(begin),
            until_ns=epoch_ns(end or now),
            zone=self.tz,
            order=self.order,
            limit=self.limit,
        )
        if self.compare is None:
            found = answer(asked)
            since, until = (datetime.fromtimestamp(ns // _NS, zone) for ns in (found.since_ns, found.until_ns))
            return Findings(asked, found.columns, found.rows, since, until)
        if self.compare != "previous":
            raise QueryError(f"there is no comparison with {self.compare!r}; there is previous")
        if begin is None:
            raise QueryError("there is nothing before `all`; name a period that has a beginning")
        earlier = before(self.since, begin, end or now, self.tz)
        order, whole = self.order, replace(asked, order=None, limit=0)
        there = answer(whole)
        then = answer(replace(whole, since_ns=epoch_ns(earlier[0]), until_ns=epoch_ns(earlier[1])))
        columns, rows = _compared(there, then)
        if order is not None and order.removeprefix("-") not in columns:
            raise QueryError(f"order {order!r} is none of {', '.join(columns)}")
        rows = arranged(rows, asked)[: self.limit or None]
        return Findings(
            asked, columns, rows, begin.astimezone(zone), (end or now).astimezone(zone), (earlier[0], earlier[1])
        )

    def _grain(self) -> Grain | None:
        for grain in GRAINS:
            if self.every == grain:
                return grain
        if self.every is not None:
            raise QueryError(f"there is no time grain {self.every!r}; there are {', '.join(GRAINS)}")
        return None


def read_condition(text: str) -> Filter:
    """Return the condition that a text is: `tenant=acme`, `model!=gpt-4o`, `feature~search*`.

    Values are separated by commas: any of them (`=`, `~`), none of them (`!=`). An empty value is for calls without
    one.

    Raises:
        QueryError: It is no condition.
    """
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise QueryError(f"{text!r} is no condition; write it like tenant=acme, model!=gpt-4o or feature~search*")
    operators: dict[str, Literal["=", "!=", "~"]] = {"=": "=", "!=": "!=", "~": "~"}
    return Filter(parts[1].strip(), operators[parts[2]], tuple(parts[3].split(",")))


def query(
    metrics: str | Iterable[str] = ("cost", "calls"),
    *,
    by: str | Iterable[str] = (),
    every: Grain | None = None,
    where: Mapping[str, str | Iterable[str] | None] | Iterable[str] = (),
    since: str = "7d",
    until: str | None = None,
    tz: str = "UTC",
    compare: Compare | None = None,
    order: str | None = None,
    limit: int = 0,
    ledger: str | os.PathLike[str] | None = None,
) -> list[dict[str, Any]]:
    """Ask the ledger what was spent, by whom and when.

        for row in genledger.query("cost", by="feature", since="yesterday", where={"tenant": "acme"}):
            print(row["feature"], row["cost"])

    docs/questions.md has every metric and field, and `genledger query` asks the same in a shell.

    Args:
        metrics: What is measured: `cost` (USD), `calls`, `tokens`, `error_rate`, `latency` (s), `cost_per_outcome`, …
        by: What it is grouped by: `feature`, `tenant`, `model`, `tag`, `agent`, `trace`, `metadata.KEY`, …
        every: The grain of time: `hour`, `day`, `week` or `month`. Rows then have a `time`, the beginning of each.
        where: Which calls: a mapping of fields to a value or several (`None`: calls without one), or conditions like
            `["tenant=acme", "model!=gpt-4o", "feature~search*"]`.
        since: The period: `today`, `yesterday`, `this-week`, `last-week`, `this-month`, `last-month` (the whole of it),
            or its beginning: `7d` or `24h` ago, an ISO date or time, `all`.
        until: Its end, exclusive: the same words, or `now`.
        tz: The time zone in which days begin, by its IANA name.
        compare: `previous` adds, for each metric, `<metric>_before` of the period as long right before, and
            `<metric>_change`, the part by which it grew (0.25: by a quarter).
        order: A column to sort by, with `-` before it for the largest first. By default, time, then the first metric.
        limit: Rows at most; 0 for all.
        ledger: The ledger's file. By default, `GENLEDGER_LEDGER`, else the user's own.

    Returns:
        One dictionary for each row, for `pandas.DataFrame` and the like. A metric is `None` where it is unknown: a
        cost without a priced call, a ratio over nothing.

    Raises:
        ValueError: The question names what there is not; the message says what there is.
        genledger.ledger.LedgerError: The ledger cannot be read.
    """
    question = Question(
        metrics=_names(metrics),
        by=_names(by),
        every=every,
        where=_conditions(where),
        since=since,
        until=until,
        tz=tz,
        compare=compare,
        order=order,
        limit=limit,
    )
    path = default_path() if ledger is None else Path(ledger)
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}")
    with Ledger(path).reading() as connection:
        return question.find(lambda asked: ask(connection, asked)).rows


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _conditions(where: Mapping[str, str | Iterable[str] | None] | Iterable[str]) -> tuple[Filter, ...]:
    if isinstance(where, Mapping):
        return tuple(Filter(name, "=", _names("" if value is None else value)) for name, value in where.items())
    return tuple(read_condition(text) for text in _names(where))


def _compared(there: Answer, then: Answer) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the columns and rows of one answer beside another: by their fields, and by the place of their time."""
    query = there.query
    times: dict[str, str] = {}
    if query.every is not None:
        starts, earlier = (
            [bucket.start.isoformat() for bucket in buckets(one.since_ns, one.until_ns, query.every, query.zone)]
            for one in (there, then)
        )
        times = dict(zip(earlier, starts, strict=False))
    keys = there.columns[: len(there.columns) - len(query.metrics)]
    absent = nothing_of(query.metrics)
    now = {tuple(row[name] for name in keys): row for row in there.rows}
    past: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in then.rows:
        moved = row if query.every is None else {**row, "time": times.get(row["time"])}
        if query.every is None or moved["time"] is not None:
            past[tuple(moved[name] for name in keys)] = row
    rows = []
    for key in {**now, **past}:
        row = dict(zip(keys, key, strict=True))
        for name in query.metrics:
            value, was = (found.get(key, absent)[name] for found in (now, past))
            row[name], row[f"{name}_before"] = value, was
            row[f"{name}_change"] = (value - was) / was if value is not None and was else None
        rows.append(row)
    metrics = (column for name in query.metrics for column in (name, f"{name}_before", f"{name}_change"))
    return (*keys, *metrics), rows
