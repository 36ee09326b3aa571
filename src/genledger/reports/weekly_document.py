"""The report on a week as a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from genledger.reports.document import Column, Document, Grid, Section, TableCell, Tone
from genledger.reports.unit_economics import CostPerSuccess, Margin, Waste
from genledger.reports.weekly import By, Change, Compared, Success, Weekly
from genledger.shared.figures import count, digits_for, money, number_of, signed
from genledger.shared.text import shown, visible

MOST = 20
"""Rows of a table, and lines about growth; JSON has all."""

_SHOWN_OF_ID = 16


def weekly_document(found: Weekly) -> Document:
    """Return the report as a document."""
    found = visible(found)
    sections = [
        _compared("By feature", "feature", found.features, found.whole),
        _compared("By tenant", "tenant", found.tenants, found.whole),
        Section("Growth over 20%", lines=_growth(found)),
        Section("Dearest features", lines=_dearest(found)),
        *_successes(found.successes),
        _waste(found),
        *_margins(found.margins),
        Section("Errors and retries", lines=_failures(found)),
        _outliers(found),
        Section("Calls without a price", lines=_unpriced(found)),
    ]
    return Document(title_of(found), [section for section in sections if section.grid or section.lines])


def title_of(found: Weekly) -> str:
    """Return the title: the week, its days and time zone."""
    week = found.week
    until = f"{week.end - timedelta(days=1):%a %Y-%m-%d}" if week.over else f"{week.end:%a %Y-%m-%d %H:%M}"
    against = "the week before" if week.over else "the same time of the week before"
    return f"Week {week.name}: {week.begin:%a %Y-%m-%d} to {until} ({shown(found.zone)}), against {against}"


def _compared(heading: str, by: By, rows: Sequence[Compared], whole: Compared) -> Section:
    digits = digits_for(max(whole.cost.now or 0.0, whole.cost.before or 0.0))
    columns = [
        *(Column(by, names=True), Column("cost"), Column("change")),
        *(Column("calls"), Column("change", spare=1), Column("tokens", spare=2), Column("change", spare=2)),
    ]
    grid = Grid(
        columns, [_row(row, _name(row.key), digits) for row in rows[:MOST]], _row(whole, TableCell("all"), digits)
    )
    lines = _more(rows)
    if any(change.state == "not enough data" for row in (*rows[:MOST], whole) for change in _changes(row)):
        lines.append("n: not enough data to tell growth from chance; sessions or traces in the smaller week.")
    return Section(heading, grid, lines)


def _changes(row: Compared) -> tuple[Change, Change, Change]:
    return row.cost, row.calls, row.tokens


def _row(row: Compared, name: TableCell, digits: int) -> list[TableCell]:
    unknown = row.cost.now is None
    return [
        name,
        TableCell("unpriced", "alarm") if unknown else TableCell(money(row.cost.now, digits)),
        _change(row.cost),
        TableCell(count(round(row.calls.now or 0))),
        _change(row.calls),
        TableCell(count(round(row.tokens.now or 0))),
        _change(row.tokens),
    ]


def _change(change: Change) -> TableCell:
    if change.state == "new":
        return TableCell("new")
    if change.growth is None:
        return TableCell("-", "dim")
    if change.state == "not enough data":
        return TableCell(f"n = {change.n:,}", "dim")
    return (
        TableCell(f"▲ {change.growth:+,.0%}", "alarm")
        if change.state == "grown"
        else TableCell(f"{change.growth:+,.0%}")
    )


def _growth(found: Weekly) -> list[str]:
    marked, doubtful = [], []
    for row in (found.whole, *found.features, *found.tenants):
        label = "all" if row.by == "all" else f"{row.by} {_text(row.key)}"
        for name, change in zip(("cost", "calls", "tokens"), _changes(row), strict=True):
            if change.state == "grown" and (name == "cost" or row.cost.state != "grown"):
                marked.append(f"▲ {label}: {name} {_up(change)}{_amounts(row, name)}{_causes(row, name)}")
            elif change.state == "not enough data" and name == "cost":
                doubtful.append(f"{label}: {name} {change.growth:+,.0%}: not enough data (n = {change.n:,})")
    for one in found.successes:
        label = f"{one.by} {_text(one.key)}: cost per {one.now.outcome}"
        if one.change.state == "grown":
            digits = digits_for(max(one.now.each or 0.0, one.before.each or 0.0))
            marked.append(f"▲ {label} {_up(one.change)}, from {_each(one.before, digits)} to {_each(one.now, digits)}")
        elif one.change.state == "not enough data":
            doubtful.append(f"{label} {one.change.growth:+,.0%}: not enough data (n = {one.change.n:,})")
    lines = [*marked, *doubtful]
    return lines[:MOST] + ([f"{len(lines) - MOST:,} more; --json has all."] if len(lines) > MOST else [])


def _up(change: Change) -> str:
    return f"{change.growth:+,.0%} (95%: at least {change.low:+,.0%})"


def _amounts(row: Compared, name: str) -> str:
    if name != "cost" or row.split is None:
        return ""
    digits = row.split.digits
    return f", from {money(row.cost.before, digits)} to {money(row.cost.now, digits)}"


def _causes(row: Compared, name: str) -> str:
    if name != "cost" or row.split is None:
        return ""
    digits = row.split.digits
    causes = sorted(row.split.causes.items(), key=lambda item: -abs(item[1]))
    named = [f"{cause} {signed(amount, digits)}" for cause, amount in causes if amount]
    return f"\n    {signed(row.split.change, digits)}: {', '.join(named)}"


def _each(one: CostPerSuccess, digits: int) -> str:
    return f"{money(one.each, digits)} ({money(one.cost, digits_for(one.cost))} / {one.successes:,})"


def _dearest(found: Weekly) -> list[str]:
    digits = digits_for(found.whole.cost.now)
    whole = money(found.whole.cost.now, digits)
    return [
        f"{place}. {_text(one.key)}: {money(one.cost, digits)} of {whole} ({one.share:.1%})"
        + (f", most of it on {one.model} ({money(one.model_cost, digits)})" if one.model and one.model_cost else "")
        for place, one in enumerate(found.dearest, 1)
    ]


def _successes(rows: Sequence[Success]) -> Iterable[Section]:
    for (by, outcome), each in groupby(rows, key=lambda row: (row.by, row.now.outcome)):
        of_kind = list(each)
        digits = digits_for(max(max(row.now.cost, row.before.cost) for row in of_kind))
        digits_each = digits_for(max(row.now.each or 0.0 for row in of_kind))
        columns = [
            *(Column(by, names=True), Column("cost"), Column("successes"), Column("per success")),
            *(Column("95% interval", spare=1), Column("change")),
        ]
        cells = [
            [
                _name(row.key),
                TableCell(money(row.now.cost, digits)),
                TableCell(count(row.now.successes)),
                TableCell(money(row.now.each, digits_each), "strong"),
                _interval(row, digits_each),
                _change(row.change),
            ]
            for row in of_kind[:MOST]
        ]
        lines = _more(of_kind)
        if any(cell.text.startswith("n = ") for row in cells for cell in row[4:]):
            lines.append("n: not enough data, with so many successes.")
        if by == "tenant":
            lines.append("A tenant's cost is that in the features where the outcome is recorded.")
        yield Section(f"Cost per {outcome} by {by}", Grid(columns, cells), lines)


def _interval(row: Success, digits: int) -> TableCell:
    if row.now.low is None:
        return TableCell(f"n = {row.now.successes:,}", "dim")
    return TableCell(f"{money(row.now.low, digits)} to {money(row.now.high, digits)}")


def _waste(found: Weekly) -> Section:
    whole = found.wasted
    digits = digits_for(whole.spend)
    columns = [
        *(Column("feature", names=True), Column("spend"), Column("failed"), Column("cancelled", spare=1)),
        *(Column("retries"), Column("no success"), Column("wasted"), Column("share")),
    ]
    rows = [row for row in found.waste if row.spend]
    lines = _more(rows)
    if whole.traces:
        lines.append(
            f"Of {number_of(whole.traces, 'trace')} in features with outcomes, {whole.traces_won:,} had a success "
            f"({whole.traces_won / whole.traces:.1%})."
        )
    if any(row.unsuccessful is None for row in rows):
        lines.append("-: no outcome of the feature tells which of its traces had a success.")
    if found.unjoined:
        lines.append(
            f"{number_of(found.unjoined, 'success', 'successes')} belong to no trace or session; as many traces may be "
            "counted as wasted that are not."
        )
    grid = Grid(
        columns,
        [_waste_row(row, _name(row.key), digits) for row in rows[:MOST]],
        _waste_row(whole, TableCell("all"), digits),
    )
    return Section("Wasted spend", grid if rows else None, lines)


def _waste_row(row: Waste, name: TableCell, digits: int) -> list[TableCell]:
    amounts = (row.spend, row.failed, row.cancelled, row.retries, row.unsuccessful)
    share = f"{row.total / row.spend:.1%}" if row.spend else "-"
    return [
        name,
        *(TableCell(money(usd, digits)) for usd in amounts),
        TableCell(money(row.total, digits), "strong"),
        TableCell(share),
    ]


def _margins(rows: Sequence[tuple[By, Margin]]) -> Iterable[Section]:
    whole = next((row for by, row in rows if by == "all"), None)
    if whole is None:
        return
    digits = digits_for(max(whole.cost, whole.revenue.get("USD", 0.0)))
    for by in ("feature", "tenant"):
        of_kind = [row for kind, row in rows if kind == by]
        columns = [Column(by, names=True), *(Column(name) for name in ("revenue", "cost", "margin", "share"))]
        cells = [_margin_row(row, _name(row.key), digits) for row in of_kind[:MOST]]
        lines = [*_more(of_kind), "Revenue: the outcomes with a currency."]
        if any(row.margin is None for row in of_kind):
            lines.append("-: revenue in other currencies than USD is not converted.")
        footer = _margin_row(whole, TableCell("all"), digits)
        yield Section(f"Margin by {by}", Grid(columns, cells, footer), lines)


def _margin_row(row: Margin, name: TableCell, digits: int) -> list[TableCell]:
    revenue = ", ".join(
        money(amount, digits) if currency == "USD" else f"{amount:,.2f} {currency}"
        for currency, amount in row.revenue.items()
    )
    margin = "-" if row.margin is None else signed(row.margin, digits)
    tone: Tone = "alarm" if row.margin is not None and row.margin < 0 else "strong"
    share = "-" if row.share is None else f"{row.share:.1%}"
    return [name, TableCell(revenue), TableCell(money(row.cost, digits)), TableCell(margin, tone), TableCell(share)]


def _failures(found: Weekly) -> list[str]:
    one = found.failures
    lines = []
    if one.errors:
        lines.append(
            f"{one.errors:,} of {number_of(one.calls, 'call')} failed ({one.errors / one.calls:.1%}): "
            f"{money(one.errors_usd, digits_for(one.errors_usd))}."
        )
    if one.retried:
        causes = ", ".join(f"{cause}: {times:,}" for cause, times in one.causes.items())
        lines.append(
            f"{number_of(one.retried, 'call')} needed {number_of(one.retries, 'retry', 'retries')}"
            f"{f' ({causes})' if causes else ''}. Attempts without an answer may have cost "
            f"{money(one.retries_usd, digits_for(one.retries_usd))} of the "
            f"{money(one.retried_usd, digits_for(one.retried_usd))} that these calls cost."
        )
    return lines or ["No call failed or was repeated."]


def _outliers(found: Weekly) -> Section:
    columns = [
        *(Column("trace", names=True), Column("feature", names=True), Column("model", names=True, spare=1)),
        *(Column("calls"), Column("output"), Column("usual"), Column("times"), Column("cost")),
    ]
    digits = digits_for(max((one.output.cost or 0.0 for one in found.outliers), default=0.0))
    rows = [
        [
            TableCell(one.output.trace[:_SHOWN_OF_ID]),
            _name(one.output.feature),
            _name(one.output.model),
            TableCell(count(one.output.calls)),
            TableCell(count(one.output.output_tokens)),
            TableCell(count(round(one.usual))),
            TableCell(f"{one.times:,.0f}x"),
            TableCell(money(one.output.cost, digits)),
        ]
        for one in found.outliers
    ]
    lines = ["Show one with `genledger trace`; usual is the median of the feature's calls or traces."] if rows else []
    return Section("Output far longer than usual", Grid(columns, rows) if rows else None, lines)


def _unpriced(found: Weekly) -> list[str]:
    one = found.unpriced
    if not one.unpriced:
        return []
    models = ", ".join(f"{_text(each.model)} ({each.reason}): {each.calls:,}" for each in one.models[:MOST])
    return [
        f"{one.unpriced:,} of {number_of(one.calls, 'call')} ({one.unpriced / one.calls:.1%}): {models}. "
        "Their cost is unknown and in no sum."
    ]


def _name(key: str | None) -> TableCell:
    return TableCell("(none)", "dim") if key is None else TableCell(key)


def _text(key: str | None) -> str:
    return "(none)" if key is None else key


def _more(rows: Sequence[object]) -> list[str]:
    return [f"{len(rows) - MOST:,} more rows, included in the sum; --json has all."] if len(rows) > MOST else []
