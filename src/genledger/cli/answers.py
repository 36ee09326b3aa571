"""Answers to questions: tables for people, CSV for spreadsheets, Parquet for programs."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from genledger.cli.output import UNLIMITED, count, digits_for, fail, money, number_of, seconds, tell
from genledger.cli.tables import add_names, add_numbers, fitting, new_table
from genledger.ledger.fields import METRICS
from genledger.ledger.query import Answer, Query, nothing_of
from genledger.reports.questions import Findings, Question
from genledger.shared.text import MAX_NAME, cell, shown

_BARS = (20, 10, 0)
_SHARED = frozenset({"USD", "calls", "tokens", "requests", "outcomes"})
"""Units of what adds up, so that a row has a share of the whole."""

_TIMES = {"hour": "%Y-%m-%d %H:%M", "day": "%a %Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}


def listed(given: list[str] | None) -> tuple[str, ...]:
    """Return the names of an option that is repeated, or has several with commas."""
    return tuple(dict.fromkeys(name.strip() for text in given or () for name in text.split(",") if name.strip()))


def whole_of(question: Question, answer: Callable[[Query], Answer], now: datetime) -> dict[str, Any] | None:
    """Return the metrics of all that the question is about, for the last line of a table."""
    if not question.by and question.every is None:
        return None
    return next(iter(replace(question, by=(), every=None, order=None).find(answer, now).rows), None)


def described(found: Findings) -> dict[str, Any]:
    """Return what a question was, for JSON."""
    asked = found.query
    return {
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "tz": asked.zone,
        "compared": found.compared
        and dict(zip(("since", "until"), (when.isoformat() for when in found.compared), strict=True)),
        "metrics": {name: METRICS[name].unit for name in asked.metrics},
        "by": asked.by,
        "every": asked.every,
        "where": asked.where,
    }


def print_answer(to: Console, found: Findings, whole: Mapping[str, Any] | None, *, top: int = 0) -> None:
    """Print an answer as a table, as narrow as the console.

    Args:
        to: Console to print to.
        found: The answer.
        whole: The metrics of all calls that the question is about; `None` where the table has but one row.
        top: Maximum rows; 0 for all.
    """
    to.print(_title(found, found.query.metrics), style="bold")
    bars = [0] if to.options.ascii_only else _BARS
    variants = [_Variant(bar=width) for width in bars] + [_Variant(shares=False), *_NARROW]
    to.print(fitting(to, lambda variant: _table(found, whole, top, variant), variants))
    print_hidden(to, len(found.rows), top)


class _Variant(NamedTuple):
    """What a table has room for: bars so wide, shares, the values before in a comparison, and headings on one line."""

    bar: int = 0
    shares: bool = True
    before: bool = True
    folded: bool = False


_NARROW = (
    _Variant(shares=False, folded=True),
    _Variant(shares=False, folded=True, before=False),
)


def _title(found: Findings, metrics: Sequence[str]) -> str:
    asked = found.query
    title = " and ".join(map(words, metrics)) if len(metrics) < 3 else ", ".join(map(words, metrics))
    title += f" by {', '.join(map(words, asked.by))}" if asked.by else ""
    title += f" for each {asked.every}" if asked.every else ""
    title = f"{shown(f'{title[:1].upper()}{title[1:]}')}\n{_span(found.since, found.until, asked.zone)}"
    return f"{title}\ncompared with {_span(*found.compared, asked.zone)}" if found.compared else title


def _span(since: datetime, until: datetime, zone: str) -> str:
    """Format a period: its days, from the first to the last, or its times."""
    if since.time() == until.time() == time() and since < until:
        last = until - timedelta(days=1)
        days = f"{since:%Y-%m-%d}" if since.date() == last.date() else f"{since:%Y-%m-%d} to {last:%Y-%m-%d}"
        return f"{days} {zone}".strip()
    return f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} {zone}".strip()


def words(name: str) -> str:
    """Return the name of a metric or field in words."""
    return name if name.startswith("metadata.") else name.replace("_", " ")


def name_of(value: Any) -> Text:
    """Return the value of a field as a table shows it."""
    return Text("(none)", style="dim") if value is None else Text(shown(str(value)))


def _table(found: Findings, whole: Mapping[str, Any] | None, top: int, variant: _Variant) -> Table:
    asked = found.query
    rows = found.rows[: top or None]
    first = asked.metrics[0]
    adds_up = METRICS[first].unit in _SHARED and not METRICS[first].is_ratio
    total = whole.get(first) if whole is not None and adds_up else None
    keys = [*(["time"] if asked.every is not None else []), *asked.by]
    table = new_table()
    table.show_footer = whole is not None
    table.footer_style = "bold"
    for place, name in enumerate(keys):
        add_names(table, _heading(name, found), "" if place else "total")
    cells: list[Callable[[Mapping[str, Any]], RenderableType]] = []

    def add(heading: str, cell: Callable[[Mapping[str, Any]], RenderableType]) -> None:
        cells.append(cell)
        add_numbers(table, heading.replace(" ", "\n") if variant.folded else heading, cell(whole) if whole else "")

    for name in asked.metrics:
        compared = f"{name}_before" in found.columns
        shown_in = [name, *([f"{name}_before"] if compared else [])]
        form = _form(name, [row[column] for row in (*rows, *([whole] if whole else [])) for column in shown_in])
        add(words(name), lambda row, name=name, form=form: form(row[name]))  # type: ignore[misc]
        if compared and variant.before:
            add("before", lambda row, name=name, form=form: form(row[f"{name}_before"]))  # type: ignore[misc]
        if compared:
            add("change", lambda row, name=name: _change(row, name))  # type: ignore[misc]
    shares = variant.shares and bool(total)
    bar = variant.bar
    if shares:
        add("share", lambda row: f"{(row[first] or 0) / total:.1%}" if total and row[first] is not None else "")
    if shares and bar:
        table.add_column(width=bar)
    for row in rows:
        names = (Text(_time(row[name], asked.every)) if name == "time" else name_of(row[name]) for name in keys)
        share = (row[first] or 0) / total if total else 0.0
        bars = [Bar(1.0, 0.0, min(share, 1.0), width=bar, color="cyan")] if shares and bar else []
        table.add_row(*names, *(cell(row) for cell in cells), *bars)
    return table


def _time(iso: str, every: str | None) -> str:
    return datetime.fromisoformat(iso).strftime(_TIMES[every or "hour"])


def _change(row: Mapping[str, Any], name: str) -> Text:
    change, value, was = row[f"{name}_change"], row[name], row[f"{name}_before"]
    if change is not None:
        return Text(f"{change:+.1%}")
    return Text("new" if value and not was else "gone" if was and not value else "-")


def _form(name: str, values: Iterable[float | None]) -> Callable[[Any], str]:
    """Return how a metric is written, in a column that has these values."""
    unit = METRICS[name].unit
    known = [value for value in values if value is not None]
    if unit == "USD":
        digits = digits_for(max(known, default=None))
        return lambda value: money(value, digits)
    if unit == "s":
        return seconds
    if unit == "1":
        return lambda value: "-" if value is None else f"{value:.1%}"
    if all(float(value).is_integer() for value in known):
        return lambda value: "-" if value is None else count(int(value))
    return lambda value: "-" if value is None else f"{value:,.1f}"


def print_matrix(
    to: Console, found: Findings, whole: Mapping[str, Any] | None, down: str, across: str, *, top: int = 0
) -> None:
    """Print the first metric by two columns: a line for each value of one, a column for each value of the other.

    The columns that do not fit are added up in one.
    """
    metric = found.query.metrics[0]
    lines = _sums(found, down)
    heads = _sums(found, across)
    values = {(row[down], row[across]): row[metric] for row in found.rows}
    form = _form(metric, [*values.values()])
    room = _HEAD if to.width < UNLIMITED else MAX_NAME

    def build(columns: int) -> Table:
        table = new_table()
        table.show_footer = True
        table.footer_style = "bold"
        add_names(table, f"{_heading(down, found)} / {_heading(across, found)}", "total")
        kept, rest = list(heads)[:columns], list(heads)[columns:]
        for head in kept:
            add_numbers(table, _head(head, across, room), form(heads[head]))
        if rest:
            add_numbers(table, number_of(len(rest), "other"), form(_sum(heads[head] for head in rest)))
        add_numbers(table, "total", form(whole[metric] if whole else None))
        for line in list(lines)[: top or None]:
            others = [form(_sum(values.get((line, head)) for head in rest))] if rest else []
            name = Text(_time(line, found.query.every)) if down == "time" else name_of(line)
            table.add_row(name, *(form(values.get((line, head))) for head in kept), *others, form(lines[line]))
        return table

    to.print(_title(found, [metric]), style="bold")
    to.print(fitting(to, build, range(min(len(heads), _MOST_HEADS), 0, -1)))
    print_hidden(to, len(lines), top)


def print_hidden(to: Console, rows: int, top: int) -> None:
    """Say how many rows a table leaves out."""
    if top and rows > top:
        to.print(f"{number_of(rows - top, 'more row')}, included in the whole. Show them with `--top 0`.", style="dim")


def _heading(column: str, found: Findings) -> str:
    return found.query.every or "" if column == "time" else words(column)


def _head(value: Any, column: str, room: int) -> str:
    if column == "time":
        return datetime.fromisoformat(value).strftime("%m-%d")
    return "(none)" if value is None else shown(str(value), room)


_HEAD = 24
_MOST_HEADS = 12


def _sums(found: Findings, column: str) -> dict[Any, float | None]:
    """Return what the first metric adds up to for each value of a column: as sorted, by time, or largest first."""
    metric = found.query.metrics[0]
    sums: dict[Any, float | None] = {}
    for row in found.rows:
        sums[row[column]] = _sum((sums.get(row[column]), row[metric]))
    if found.query.order is not None or column == "time":
        return sums
    return dict(sorted(sums.items(), key=lambda item: (item[1] is None, -(item[1] or 0), str(item[0]))))


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def print_csv(found: Findings) -> None:
    """Print an answer as CSV: no name in it is a formula or a control character, and what is unknown is empty."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(cell, found.columns))
    for row in found.rows:
        values = (row[column] for column in found.columns)
        writer.writerow([cell(value) if isinstance(value, str) else value for value in values])


def write_parquet(found: Findings, path: Path) -> None:
    """Write an answer as a Parquet file. Exit with an error without pyarrow, or where the file cannot be written."""
    try:
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        from pyarrow import parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        fail("--parquet needs the package pyarrow, which is not installed; install genledger[analytics]")
    counted = {name for name, nothing in nothing_of(found.query.metrics).items() if nothing == 0}
    integers = {column for column in found.columns if column.removesuffix("_before") in counted}
    kinds = {
        "time": pyarrow.timestamp("us", found.query.zone),
        **dict.fromkeys(found.query.by, pyarrow.string()),
    }
    fields = [
        (column, kinds.get(column) or (pyarrow.int64() if column in integers else pyarrow.float64()))
        for column in found.columns
    ]
    rows = [
        {
            column: datetime.fromisoformat(value) if column == "time" else str(value) if column in kinds else value
            for column, value in row.items()
            if value is not None
        }
        for row in found.rows
    ]
    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows, pyarrow.schema(fields)), path)
    except OSError as error:
        fail(f"{path} cannot be written: {error}")
    tell(f"{number_of(len(rows), 'row')} written to {path}")
