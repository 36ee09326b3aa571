"""What the page shows, as its address says it: so a view can be shared, and the browser's back button works."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlencode

from genledger.ledger.grains import GRAINS, Grain
from genledger.ledger.query import Filter, QueryError
from genledger.reports.periods import between, epoch_ns, read_zone

FILTERS = ("tenant", "feature", "model")
"""Fields that have an input of their own."""

_CONDITION = re.compile(r"([^=!~]+)(!=|=|~)(.*)", re.DOTALL)
_MOST = 100
"""Parameters of one address."""


class Span(NamedTuple):
    """A period in nanoseconds since the epoch, its end exclusive; `None` begins with the ledger."""

    since_ns: int | None
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown.

    Attributes:
        board: Name of a dashboard, or `explore`.
        since: Period or its beginning, as `genledger query --since` has it; empty for the dashboard's own.
        until: Its end; empty for now.
        zone: IANA name of the time zone.
        where: Conditions, all of which hold.
        metrics: What `explore` measures.
        by: What it groups by.
        every: Its grain of time; `None` for no axis of time.
        traces: The traces are listed, largest in this metric first.
        trace: The trace that is shown, or the first digits of its id.
    """

    board: str = "overview"
    since: str = ""
    until: str = ""
    zone: str = "UTC"
    where: tuple[Filter, ...] = ()
    metrics: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    every: Grain | None = None
    traces: str = ""
    trace: str = ""

    def span(self, usual: str, now: datetime) -> Span:
        """Return the period.

        Args:
            usual: What it is when the view does not say.
            now: The current time, with a zone.

        Raises:
            PeriodError: The view's is not one.
        """
        begin, end = between(self.since or usual, self.until or None, self.zone, now)
        until_ns = epoch_ns(end or now)
        assert until_ns is not None
        return Span(epoch_ns(begin), until_ns)


def read_view(query: str, home: View) -> View:
    """Return the view of an address.

    Args:
        query: What follows its question mark.
        home: The view of an address that says nothing.

    Raises:
        QueryError: A condition or grain is not one.
        PeriodError: The time zone is not one.
        ValueError: It has too many parameters.
    """
    given: Mapping[str, list[str]] = parse_qs(query, max_num_fields=_MOST)

    def one(name: str, usual: str) -> str:
        return next((value.strip() for value in given.get(name, ()) if value.strip()), usual)

    def several(name: str) -> tuple[str, ...]:
        return tuple(value.strip() for value in given.get(name, ()) if value.strip())

    chosen = [f"{name}={value}" for name in FILTERS for value in several(name)]
    zone = one("tz", home.zone)
    read_zone(zone)
    return View(
        board=one("board", home.board),
        since=one("since", home.since),
        until=one("until", "" if several("since") else home.until),
        zone=zone,
        where=read_conditions([*chosen, *given.get("where", ())]) if given else home.where,
        metrics=several("metric"),
        by=several("by"),
        every=_grain(one("every", "")),
        traces=one("traces", ""),
        trace=one("trace", ""),
    )


def read_conditions(texts: Iterable[str]) -> tuple[Filter, ...]:
    """Return the conditions that texts are, such as `tenant=acme`; several on one field mean any of the values.

    Raises:
        QueryError: One is no condition.
    """
    return _together(_condition(text) for text in texts if text.strip())


def address(view: View) -> str:
    """Return the one address of a view: `?board=spend&tz=UTC`."""
    parts = [("board", view.board), ("since", view.since), ("until", view.until), ("tz", view.zone)]
    parts += [("where", text) for text in map(condition_text, _each(view.where))]
    parts += [("metric", name) for name in view.metrics]
    parts += [("by", name) for name in view.by]
    parts += [("every", view.every or ""), ("traces", view.traces), ("trace", view.trace)]
    return "?" + urlencode([(name, value) for name, value in parts if value])


def condition_text(condition: Filter) -> str:
    """Return a condition on one value as the address has it."""
    return f"{condition.field}{condition.operator}{condition.values[0]}"


def without(view: View, condition: Filter) -> View:
    """Return the view without a condition on one value."""
    return replace(view, where=_together(one for one in _each(view.where) if one != condition))


def conditions(view: View) -> list[Filter]:
    """Return the conditions of a view, each on one value."""
    return list(_each(view.where))


def narrowed(view: View, keys: Mapping[str, str | None], metric: str) -> View:
    """Return the traces of what a bar or a cell stands for, in any period.

    Args:
        view: The view that it is in.
        keys: The values of the fields that it is grouped by.
        metric: What it shows.
    """
    also = (Filter(name, "=", (value or "",)) for name, value in keys.items())
    shown = both(view.where, also)
    return View(board=view.board, zone=view.zone, where=shown, traces=metric)


def within(span: Span) -> str:
    """Return what an address that names no period goes on with."""
    since = "all" if span.since_ns is None else _moment(span.since_ns)
    return "&" + urlencode({"since": since, "until": _moment(span.until_ns)})


def both(given: Iterable[Filter], more: Iterable[Filter]) -> tuple[Filter, ...]:
    """Return conditions that hold where both do, one for each field and operator."""
    found = {(one.field, one.operator): one for one in given}
    for one in more:
        former = found.get((one.field, one.operator))
        if former is None:
            values = one.values
        elif one.operator == "!=":
            values = tuple(dict.fromkeys((*former.values, *one.values)))
        else:
            values = tuple(value for value in former.values if value in one.values) or one.values
        found[one.field, one.operator] = one._replace(values=values)
    return tuple(found.values())


def _moment(ns: int) -> str:
    whole = datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns // 1_000 % 1_000_000)
    return whole.isoformat().replace("+00:00", "Z")


def _condition(text: str) -> Filter:
    # Not as `genledger query --where`, which parts values at commas: what was clicked on may have some.
    parts = _CONDITION.fullmatch(text)
    if parts is None:
        raise QueryError(f"{text!r} is no condition; write it like tenant=acme, model!=gpt-4o or feature~search*")
    operators: dict[str, Literal["=", "!=", "~"]] = {"=": "=", "!=": "!=", "~": "~"}
    return Filter(parts[1].strip(), operators[parts[2]], (parts[3],))


def _together(given: Iterable[Filter]) -> tuple[Filter, ...]:
    """Several conditions on a field, with one operator, are one: any of the values, or none of them."""
    found: dict[tuple[str, str], Filter] = {}
    for one in given:
        key = (one.field, one.operator)
        former = found.get(key)
        values = (*former.values, *one.values) if former else one.values
        found[key] = one._replace(values=tuple(dict.fromkeys(values)))
    return tuple(found.values())


def _each(given: Iterable[Filter]) -> Iterable[Filter]:
    return (one._replace(values=(value,)) for one in given for value in one.values)


def _grain(text: str) -> Grain | None:
    for grain in GRAINS:
        if text == grain:
            return grain
    if text:
        raise QueryError(f"there is no time grain {text!r}; there are {', '.join(GRAINS)}")
    return None
