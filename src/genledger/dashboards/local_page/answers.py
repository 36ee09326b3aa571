"""The answer of a panel: a table for people who read numbers, and what its chart draws."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import inf
from typing import Any, Literal, NamedTuple

from genledger.budgets.budget_status import BudgetStatus
from genledger.dashboards.local_page.boards import SUMS
from genledger.dashboards.local_page.view import Span, both
from genledger.dashboards.panels import Chart, Panel, unit_of, words
from genledger.ledger.fields import FIELDS, METRICS, OUTCOME_NAME
from genledger.ledger.grains import GRAINS, HOUR_NS, Bucket, Grain, buckets
from genledger.ledger.query import Answer, Filter, Query
from genledger.shared.figures import count, digits_for, money, number_of

Ask = Callable[[Query], Answer]

NONE = "(none)"
_MOST_SERIES = 9
"""What a chart can tell apart; the rest is drawn as one."""
_MOST_TIMES = 750
_MOST_ROWS = 120
_FULL = 300
_HOURS = {"24h": 24, "7d": 168}
_DAY_NS = 24 * HOUR_NS

Keys = Mapping[str, str | None]


class Cell(NamedTuple):
    """A number or name in a table.

    Attributes:
        text: As it is read.
        keys: The calls that it stands for, by the values of fields; `None`: it cannot be opened.
        span: The period that it stands for.
        metric: What it shows.
        kind: What it is.
    """

    text: str
    keys: Keys | None = None
    span: Span | None = None
    metric: str = ""
    kind: Literal["number", "name", "time"] = "number"


class Drawn(NamedTuple):
    """What a chart draws in one color: a value for each time or name."""

    name: str
    keys: Keys | None
    metric: str
    values: list[float | None]
    other: bool = False


@dataclass(slots=True)
class Shown:
    """What a panel shows.

    Attributes:
        headings: Of the table's columns.
        rows: Of the table; the first cells are names.
        chart: How it is drawn; `None` for a table alone.
        unit: Of what is drawn.
        places: What the chart draws along: names, or times as the zone's clocks show them.
        spans: The period of each place.
        series: What it draws.
        notes: What is to be known of it.
        number: The number that is all there is.
    """

    headings: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    chart: Chart | None = None
    unit: str = ""
    places: list[str] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    series: list[Drawn] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    number: Cell | None = None


def answer(panel: Panel, where: Sequence[Filter], span: Span, zone: str, ask: Ask) -> Shown:
    """Return what a panel shows.

    Args:
        panel: The panel; not one of budgets.
        where: Conditions that hold beside its own.
        span: The period.
        zone: IANA name of the time zone in which days begin.
        ask: Answers a question, as `genledger.ledger.query.ask` does.

    Raises:
        QueryError: The panel cannot be asked with these conditions.
    """
    base = Query(
        metrics=(*panel.metrics, *(("outcomes",) if panel.least_outcomes else ())),
        by=panel.by,
        where=both(panel.where, where),
        since_ns=span.since_ns,
        until_ns=span.until_ns,
        zone=zone,
    )
    if panel.windows:
        return _windows(panel, base, span, ask)
    if panel.over_time:
        return _over_time(panel, base, ask)
    if panel.chart == "number":
        (metric,) = panel.metrics
        return number(metric, next((row[metric] for row in ask(base).rows), None), span)
    return _ranked(panel, base, span, ask)


def number(metric: str, value: float | None, span: Span) -> Shown:
    """Return one number."""
    return Shown(number=Cell(_short(metric, value), {}, span, metric), unit=unit_of(metric))


def standing(panel: Panel, budgets: Iterable[BudgetStatus]) -> Shown:
    """Return how budgets stand, those most used up first."""
    shown = Shown(["budget", "scope", "used", "limit", "settled", "reserved", "left", "resets"], unit="1")
    found = list(budgets)[: panel.top or None]
    for one in found:
        amounts = (one.limit, one.settled, one.reserved, one.left)
        digits = digits_for(max(amounts))
        resets = "never" if one.resets_at is None else f"{one.resets_at:%Y-%m-%d %H:%M %Z}"
        texts = [money(value, digits) if one.measure == "usd" else count(round(value)) for value in amounts]
        names = [Cell(one.rule, kind="name"), Cell(one.scope, kind="name")]
        shown.rows.append([*names, Cell(f"{one.used:.1%}"), *map(Cell, texts), Cell(resets, kind="time")])
    if found:
        shown.chart = "ranking"
        shown.places = [f"{one.rule} / {one.scope}" for one in found]
        shown.series = [Drawn("used", None, "budget_used", [one.used for one in found])]
    return shown


def _windows(panel: Panel, base: Query, span: Span, ask: Ask) -> Shown:
    (metric,) = panel.metrics
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    spans = {window: Span(span.until_ns - _HOURS[window] * HOUR_NS, span.until_ns) for window in panel.windows}
    for window, one in spans.items():
        for row in ask(replace(base, since_ns=one.since_ns)).rows:
            found.setdefault(_key(row, panel.by), {})[window] = row[metric]
    last = panel.windows[-1]
    largest = sorted(found.items(), key=lambda one: -(one[1].get(last) or 0))[: panel.top or None]
    shown = Shown([*map(words, panel.by), *(f"{words(metric)}, {window}" for window in panel.windows)])
    formats = {window: _format(metric, [values.get(window) for _, values in largest]) for window in panel.windows}
    for key, values in largest:
        keys = _keys(panel, key)
        cells = [Cell(formats[window](values.get(window)), keys, spans[window], metric) for window in panel.windows]
        shown.rows.append([*_names(panel, key), *cells])
    return shown


def _ranked(panel: Panel, base: Query, span: Span, ask: Ask) -> Shown:
    rows = ask(replace(base, limit=panel.top)).rows
    if len(panel.metrics) == 1 and panel.metrics[0] in SUMS:
        rows = [row for row in rows if row[panel.metrics[0]]]
    shown = Shown([*map(words, panel.by), *map(words, panel.metrics)], unit=unit_of(panel.metrics[0]))
    formats = {metric: _format(metric, [row[metric] for row in rows]) for metric in panel.metrics}
    for row in rows:
        key = _key(row, panel.by)
        keys = _keys(panel, key)
        cells = [Cell(formats[metric](row[metric]), keys, span, metric) for metric in panel.metrics]
        shown.rows.append([*_names(panel, key), *cells])
    if panel.chart == "ranking" and rows:
        shown.chart = "ranking"
        metric = panel.metrics[0]
        shown.places = [_name(_key(row, panel.by)) for row in rows]
        shown.spans = [span] * len(rows)
        shown.series = [Drawn(words(metric), _keys(panel, _key(row, panel.by)), metric, [row[metric]]) for row in rows]
    return shown


def _over_time(panel: Panel, base: Query, ask: Ask) -> Shown:
    # The largest rates would be those of groups with one call: those of which there is most are drawn.
    size = panel.metrics[0]
    if size not in SUMS:
        size = "outcomes" if METRICS[size].of == "outcomes" else "calls"
    base = replace(base, metrics=tuple(dict.fromkeys((*base.metrics, size))))
    since_ns = base.since_ns if base.since_ns is not None else ask(replace(base, by=())).since_ns
    assert base.until_ns is not None
    grain = _grain(panel, base.until_ns - since_ns)
    times = buckets(since_ns, base.until_ns, grain, base.zone)
    most = max(1, min(panel.top or _MOST_SERIES, _MOST_SERIES + 1) // len(panel.metrics))
    wanted = replace(base, every=grain)
    if not all(name in FIELDS and FIELDS[name].rolled for name in panel.by if name != OUTCOME_NAME):
        # There may be a group for each call, and they are read from the calls: the largest are found first.
        largest = ask(replace(base, order=f"-{size}", limit=most + 1)).rows
        wanted = replace(wanted, where=both(base.where, _only(panel.by, largest)))
    groups = _Groups(panel, size, [bucket.start.isoformat() for bucket in times])
    for row in ask(wanted).rows:
        groups.add(row)
    shown = Shown(chart=panel.chart, unit=unit_of(panel.metrics[0]), series=groups.series(most))
    if not shown.series:
        return Shown(notes=groups.notes(most, grain))
    shown.notes = groups.notes(most, grain)
    shown.spans = [Span(bucket.begin_ns, bucket.end_ns) for bucket in times]
    shown.places = [f"{bucket.start:%Y-%m-%d %H:%M}" for bucket in times]
    _tabulate(shown, panel, grain, times)
    return shown


class _Groups:
    """The values of a panel over time, as they are found."""

    def __init__(self, panel: Panel, size: str, times: Sequence[str]) -> None:
        self._panel = panel
        self._size = size
        self._place = {time: number for number, time in enumerate(times)}
        self._sizes: dict[tuple[Any, ...], float] = defaultdict(float)
        self._values: dict[tuple[tuple[Any, ...], str], list[float | None]] = defaultdict(self._nothing)
        self._left_out = 0

    def _nothing(self) -> list[float | None]:
        return [None] * len(self._place)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row of the answer."""
        panel = self._panel
        key = _key(row, panel.by)
        some = [metric for metric in panel.metrics if row[metric] or (row[metric] is not None and metric not in SUMS)]
        if panel.least_outcomes and row["outcomes"] < panel.least_outcomes:
            self._left_out += bool(some)
        elif some:
            self._sizes[key] += row[self._size] or 0
            for metric in panel.metrics:
                self._values[key, metric][self._place[row["time"]]] = row[metric]

    def series(self, most: int) -> list[Drawn]:
        """Return the largest groups, and the rest of them as one, if it can be added up."""
        panel = self._panel
        keys = sorted(self._sizes, key=lambda key: (-self._sizes[key], _name(key)))
        found = [
            Drawn(self._name(key, metric), _keys(panel, key), metric, self._values[key, metric])
            for key in keys[:most]
            for metric in panel.metrics
        ]
        if len(keys) > most and self._adds_up:
            (metric,) = panel.metrics
            columns = zip(*(self._values[key, metric] for key in keys[most:]), strict=True)
            rest = [sum(value or 0 for value in column) or None for column in columns]
            found.append(Drawn(f"{len(keys) - most} others", None, metric, rest, other=True))
        return found

    def notes(self, most: int, grain: Grain) -> list[str]:
        """Return what is to be known of the drawing."""
        return list(self._notes(most, grain))

    @property
    def _adds_up(self) -> bool:
        return len(self._panel.metrics) == 1 and self._panel.metrics[0] in SUMS and "tag" not in self._panel.by

    def _name(self, key: tuple[Any, ...], metric: str) -> str:
        return " ".join(filter(None, [_name(key), words(metric) if len(self._panel.metrics) > 1 or not key else ""]))

    def _notes(self, most: int, grain: Grain) -> Iterator[str]:
        if len(self._sizes) > most and not self._adds_up:
            yield f"The {most} largest of {len(self._sizes)} are drawn."
        if self._left_out:
            values = number_of(self._left_out, f"{grain} of a group", f"{grain}s of groups")
            yield f"{values} with fewer than {self._panel.least_outcomes} outcomes left out."


def _only(by: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Filter]:
    """Return conditions that leave groups alone; where there is more than one field, perhaps some more of them."""
    return [
        Filter(name, "=", tuple(dict.fromkeys("" if row[name] is None else str(row[name]) for row in rows)))
        for name in by
        if name != OUTCOME_NAME and rows
    ]


def _grain(panel: Panel, length_ns: int) -> Grain:
    if panel.every is None:
        return next(grain for grain, most in _SUITABLE.items() if length_ns <= most)
    coarser = GRAINS[GRAINS.index(panel.every) :]
    return next((grain for grain in coarser if length_ns // _LENGTH[grain] <= _MOST_TIMES), coarser[-1])


def _tabulate(shown: Shown, panel: Panel, grain: Grain, times: Sequence[Bucket]) -> None:
    """Fill the table of a chart over time, newest first."""
    formats = {
        metric: _format(metric, [value for one in shown.series if one.metric == metric for value in one.values])
        for metric in panel.metrics
    }
    adds_up = len(shown.series) > 1 and len(panel.metrics) == 1 and panel.metrics[0] in SUMS and "tag" not in panel.by
    shown.headings = [grain, *(one.name for one in shown.series), *(["total"] if adds_up else [])]
    for at in reversed(range(len(times))):
        here = [one.values[at] for one in shown.series]
        if all(value is None for value in here):
            continue
        if len(shown.rows) == _MOST_ROWS:
            shown.notes.append(f"The table has the last {_MOST_ROWS} of them. Ask for a shorter period for the others.")
            break
        cells = [
            Cell(formats[one.metric](value), None if value is None else one.keys, shown.spans[at], one.metric)
            for one, value in zip(shown.series, here, strict=True)
        ]
        if adds_up:
            metric = panel.metrics[0]
            cells.append(Cell(formats[metric](sum(value or 0 for value in here)), {}, shown.spans[at], metric))
        shown.rows.append([Cell(_time(times[at].start, grain), kind="time"), *cells])


_LENGTH: Mapping[Grain, int] = {"hour": HOUR_NS, "day": _DAY_NS, "week": 7 * _DAY_NS, "month": 28 * _DAY_NS}
_SUITABLE: Mapping[Grain, float] = {"hour": 3 * _DAY_NS, "day": 100 * _DAY_NS, "week": inf}


def _time(start: datetime, grain: Grain) -> str:
    if grain == "month":
        return f"{start:%Y-%m}"
    if grain != "hour":
        return f"{start:%a %Y-%m-%d}"
    # An hour that comes twice in autumn says which it is.
    twice = start.replace(fold=0).utcoffset() != start.replace(fold=1).utcoffset()
    return f"{start:%Y-%m-%d %H:%M}" + (f"{start:%z}" if twice else "")


def _key(row: Mapping[str, Any], by: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in by)


def _keys(panel: Panel, key: Sequence[Any]) -> Keys:
    return {name: None if value is None else str(value) for name, value in zip(panel.by, key, strict=True)}


def _name(key: Sequence[Any]) -> str:
    return " / ".join(NONE if value is None else str(value) for value in key)


def _names(panel: Panel, key: Sequence[Any]) -> list[Cell]:
    return [
        Cell(NONE if value is None else str(value), {name: value} if name == "trace" else None, kind="name")
        for name, value in zip(panel.by, key, strict=True)
    ]


def _format(metric: str, values: Iterable[float | None]) -> Callable[[float | None], str]:
    """Return what formats a column of a metric."""
    known = [abs(value) for value in values if value is not None]
    digits = digits_for(max(known, default=None))
    match unit_of(metric):
        case "USD":
            return lambda value: money(value, digits)
        case "1":
            return lambda value: "-" if value is None else f"{value:.1%}"
        case "s":
            return lambda value: "-" if value is None else f"{value:,.2f} s"
        case "":
            return lambda value: "-" if value is None else f"{value:,.2f}"
    whole = all(value == int(value) or value > _FULL for value in known)
    return lambda value: "-" if value is None else f"{value:,.0f}" if whole else f"{value:,.1f}"


def _short(metric: str, value: float | None) -> str:
    if value is not None and unit_of(metric) not in ("USD", "1", "s", ""):
        return count(round(value))
    return _format(metric, [value])(value)
