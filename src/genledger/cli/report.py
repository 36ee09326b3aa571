"""`genledger report`: what was spent, by whom, on what, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from genledger.ledger import Ledger, LedgerError, default_path, queries
from genledger.ledger.queries import Dimension, OutcomeCost, Report, Selection, Spending

from .output import (
    JsonOption,
    LedgerOption,
    console,
    count,
    digits_for,
    epoch_ns,
    fail,
    moment,
    money,
    print_json,
    time_text,
)

_WIDE = 100
_NONE = "(none)"

app = typer.Typer(add_completion=False)


@app.command()
def report(
    by: Annotated[Dimension, typer.Option(help="What to break the spend down by.")] = "feature",
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="From when: 7d, 24h, 30m ago, an ISO date, or all.")
    ] = "7d",
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Until when, in the same terms; now when not given.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's calls.")] = None,
    feature: Annotated[str | None, typer.Option(help="Only this feature's calls.")] = None,
    top: Annotated[int, typer.Option(min=0, help="How many rows to show; 0 for all. JSON has all.")] = 30,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what was spent, by whom and on what."""
    now = datetime.now(UTC)
    begin = moment(since, "--since", now)
    end = None if until is None else moment(until, "--until", now)
    if begin is not None and end is not None and begin >= end:
        raise typer.BadParameter(f"--since {since} is not before --until {until}", param_hint="--until")
    selection = Selection(epoch_ns(begin), epoch_ns(end), tenant, feature)
    path = ledger or default_path()
    last_ns = None
    found = queries.nothing(by)
    try:
        if path.exists():
            with Ledger(path).reading() as connection:
                found = queries.report(connection, by, selection)
                last_ns = queries.last_call(connection)
    except LedgerError as error:
        fail(error)
    if json:
        period = {"since": begin and begin.isoformat(), "until": end and end.isoformat()}
        print_json({"ledger": str(path), **period, "tenant": tenant, "feature": feature, **asdict(found)})
    elif found.total.calls or found.outcomes:
        print_report(console(), found, title=_title(by, begin, end), top=top)
    elif last_ns is None:
        console().print(
            f"The ledger {path} has no calls yet. Run your application under `opentelemetry-instrument`, or call "
            "`genledger.instrument()` in it; `genledger doctor` shows where its calls go.",
            markup=False,
        )
    else:
        console().print(
            f"No calls match. The last call in {path} was at {time_text(last_ns)} UTC; try `--since all`.",
            markup=False,
        )


def _title(by: Dimension, begin: datetime | None, end: datetime | None) -> str:
    parts = [f"Spend by {by.replace('_', ' ')}"]
    if begin is not None:
        parts.append(f"from {begin.astimezone(UTC):%Y-%m-%d %H:%M}")
    if end is not None:
        parts.append(f"until {end.astimezone(UTC):%Y-%m-%d %H:%M}")
    return " ".join(parts) + (" (UTC)" if len(parts) > 1 else "")


def print_report(to: Console, found: Report, *, title: str, top: int = 30) -> None:
    """Print the tables of a report: spend, what is missing from it, retries, and cost per outcome.

    Args:
        to: Where to.
        found: From `genledger.ledger.queries.report`.
        title: Printed above the first table.
        top: How many rows each table has at most; 0 for all.
    """
    to.print(_spend_table(to, found, title, top))
    total = found.total
    if total.unpriced:
        reasons = ", ".join(f"{reason} {calls}" for reason, calls in sorted(total.unpriced_reasons.items()))
        to.print(
            Text.assemble(
                (f"{total.unpriced} of {total.calls} calls are unpriced", "yellow"),
                f" ({reasons}): their cost is unknown and in no sum above.",
            )
        )
    retries = found.retries
    if retries.calls:
        causes = ", ".join(f"{cause} {times}" for cause, times in retries.causes.items())
        to.print(
            f"{retries.calls} calls were retried, with {retries.requests} further requests"
            f"{f' ({causes})' if causes else ''}; these calls cost "
            f"{money(retries.cost_usd, digits_for(retries.cost_usd))} and took {retries.duration_s:,.1f} s."
        )
    if found.outcomes:
        to.print()
        to.print(_outcome_table(found, top))


def _spend_table(to: Console, found: Report, title: str, top: int) -> Table:
    wide = to.width >= _WIDE
    bars = wide and not to.options.ascii_only
    table = Table(
        title=title, title_justify="left", title_style="bold", show_footer=True, padding=(0, 1, 0, 0)
    )
    total = found.total
    table.add_column(found.by.replace("_", " "), "total", overflow="fold", ratio=1 if wide else None)
    for header, footer in (
        ("calls", count(total.calls)),
        ("input", count(total.input_tokens)),
        ("cached", count(total.cached_tokens)),
        ("output", count(total.output_tokens)),
        ("errors", _alarming(total.errors, "red")),
        ("unpriced", _alarming(total.unpriced, "yellow")),
        ("cost", _cost(total, digits_for(total.cost_usd))),
        ("share", ""),
    ):
        table.add_column(header, footer, justify="right", no_wrap=True)
    if bars:
        table.add_column("", width=20)
    table.footer_style = "bold"
    for row in found.rows[: top or None]:
        cells: list[RenderableType] = [
            Text(row.key or _NONE, style="" if row.key else "dim"),
            count(row.calls),
            count(row.input_tokens),
            count(row.cached_tokens),
            count(row.output_tokens),
            _alarming(row.errors, "red"),
            _alarming(row.unpriced, "yellow"),
            _cost(row, digits_for(total.cost_usd)),
            "" if row.share is None else f"{row.share:.1%}",
        ]
        if bars:
            cells.append(Bar(1.0, 0.0, row.share or 0.0, width=20, color="cyan"))
        table.add_row(*cells)
    hidden = len(found.rows) - (top or len(found.rows))
    if hidden > 0:
        table.caption = f"{hidden} more rows are in the total; `--top 0` shows them"
    return table


def _alarming(number: int, style: str) -> Text:
    return Text(count(number), style=style if number else "")


def _cost(row: Spending, digits: int) -> Text:
    if row.cost_usd is None and row.unpriced:
        return Text("unpriced", style="yellow")
    return Text(money(row.cost_usd, digits))


def _outcome_table(found: Report, top: int) -> Table:
    by = found.by.replace("_", " ") if any(cost.key for cost in found.outcomes) else None
    table = Table(title="Cost per outcome", title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    table.add_column("outcome", overflow="fold")
    table.add_column("feature", overflow="fold")
    if by:
        table.add_column(by, overflow="fold")
    for header in ("outcomes", "calls", "unpriced", "cost", "per outcome"):
        table.add_column(header, justify="right", no_wrap=True)
    digits = digits_for(max((cost.cost_usd or 0.0 for cost in found.outcomes), default=None))
    for cost in found.outcomes[: top or None]:
        table.add_row(*_outcome_cells(cost, digits, with_key=by is not None))
    hidden = len(found.outcomes) - (top or len(found.outcomes))
    if hidden > 0:
        table.caption = f"{hidden} more rows; `--top 0` shows them"
    return table


def _outcome_cells(cost: OutcomeCost, digits: int, *, with_key: bool) -> list[RenderableType]:
    each = cost.cost_per_outcome
    return [
        Text(cost.name),
        Text(cost.feature or _NONE, style="" if cost.feature else "dim"),
        *([Text(cost.key or _NONE, style="" if cost.key else "dim")] if with_key else []),
        count(cost.outcomes),
        count(cost.calls),
        _alarming(cost.unpriced, "yellow"),
        money(cost.cost_usd, digits),
        Text(money(each, digits_for(each)), style="bold"),
    ]
