"""`genledger report`: spend by dimension, means per run, cost per outcome, retries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import (
    JsonOption,
    console,
    count,
    digits_for,
    epoch_ns,
    fail,
    moment,
    money,
    number_of,
    print_json,
    seconds,
    tell,
    time_text,
)
from genledger.cli.report_weekly import report_weekly
from genledger.cli.tables import add_names, add_numbers, fitting, new_table
from genledger.ledger import Ledger, LedgerError, queries
from genledger.ledger.queries import OutcomeCost, Report, Retries
from genledger.ledger.run_spending import RunSpending, total
from genledger.ledger.spending import Dimension, Selection, Spending
from genledger.ledger.traces import last_call
from genledger.shared.text import visible

_BAR = 20
_TOP = 30

# Columns that a narrow terminal omits, first to last.
_DISPENSABLE = tuple(frozenset(("bar", "latency", "cached", "errors")[:count]) for count in range(5))

app = new_app(invoke_without_command=True)
app.command("weekly")(report_weekly)


@app.callback()
def report(
    context: typer.Context,
    by: Annotated[Dimension, typer.Option(help="Group spend by.")] = "feature",
    since: Annotated[str, typer.Option(metavar="WHEN", help="Start: 7d, 24h, 30m ago, an ISO date, or all.")] = "7d",
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="End, in the same format (default: now).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only calls of this tenant.")] = None,
    feature: Annotated[str | None, typer.Option(help="Only calls of this feature.")] = None,
    top: Annotated[int, typer.Option(min=0, help="Maximum rows; 0 for all. JSON has all.")] = _TOP,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show spend by feature, tenant, model or another dimension."""
    if context.invoked_subcommand is not None:
        sources = ((name, context.get_parameter_source(name)) for name in context.params)
        given = [name for name, source in sources if source is not None and source.name == "COMMANDLINE"]
        if given:
            name = context.invoked_subcommand
            context.fail(f"put the options of `genledger report {name}` after `{name}`, not before it")
        return
    now = datetime.now(UTC)
    begin = moment(since, "--since", now)
    end = None if until is None else moment(until, "--until", now)
    if begin is not None and end is not None and begin >= end:
        raise typer.BadParameter(f"--since {since} is not before --until {until}", param_hint="--until")
    selection = Selection(epoch_ns(begin), epoch_ns(end), tenant, feature)
    path = existing_ledger(ledger)
    try:
        with Ledger(path).reading() as connection:
            found = queries.report(connection, by, selection)
            last_ns = last_call(connection)
    except LedgerError as error:
        fail(error)
    if json:
        period = {"since": begin and begin.isoformat(), "until": end and end.isoformat()}
        print_json({"ledger": str(path), **period, "tenant": tenant, "feature": feature, **asdict(found)})
    elif found.rows or found.outcomes:
        print_report(console(), found, title=_title(by, begin, end), top=top)
    elif last_ns is None:
        tell(no_calls_in(path))
    else:
        tell(f"No calls match. The last call in {path} was at {time_text(last_ns)} UTC; try `--since all`.")


def _title(by: Dimension, begin: datetime | None, end: datetime | None) -> str:
    period = [
        f"{word} {when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for word, when in (("since", begin), ("until", end)) if when
    ]
    return ", ".join([f"Spend by {_words(by)}", *period])


def _words(by: Dimension) -> str:
    return by.replace("_", " ")


def print_report(to: Console, found: Report, *, title: str, top: int = _TOP) -> None:
    """Print a report: spend, unpriced calls, retries, means per run, and cost per outcome.

    Args:
        to: Console to print to.
        found: Report from `genledger.ledger.queries.report`.
        title: Printed above the first table.
        top: Maximum rows of each table; 0 for all.
    """
    print_spending(to, found.by, [row for row in found.rows if row.calls], title=title, top=top)
    if found.total.unpriced:
        to.print(_missing(visible(found.total)))
    if found.retries.calls:
        to.print(_repeated(visible(found.retries)))
    runs = [row for row in found.rows if isinstance(row, RunSpending) and row.runs]
    if runs:
        to.print()
        print_runs(to, found.by, runs, top=top)
    if found.outcomes:
        to.print()
        print_outcomes(to, found.by, found.outcomes, top=top)


def print_spending(to: Console, by: Dimension, rows: Sequence[Spending], *, title: str, top: int = _TOP) -> None:
    """Print one breakdown of the spend with its total. Omit columns that do not fit."""
    # The bars are drawn with block characters, which not every encoding has.
    variants = _DISPENSABLE[1:] if to.options.ascii_only else _DISPENSABLE
    to.print(fitting(to, lambda left_out: _spending_table(by, rows, title, top, left_out), variants))
    _print_hidden(to, len(rows), top)


def _spending_table(by: Dimension, rows: Sequence[Spending], title: str, top: int, left_out: frozenset[str]) -> Table:
    whole = total(rows)
    digits = digits_for(whole.cost_usd)
    table = new_table(title=title)
    table.show_footer = True
    table.footer_style = "bold"
    add_names(table, _words(by), "total")
    columns: dict[str, Callable[[Spending], RenderableType]] = {
        "calls": lambda row: count(row.calls),
        "input": lambda row: count(row.input_tokens),
        "cached": lambda row: count(row.cached_tokens),
        "output": lambda row: count(row.output_tokens),
        "errors": lambda row: _alarming(row.errors, "red"),
        "unpriced": lambda row: _alarming(row.unpriced, "yellow"),
        "latency": lambda row: seconds(row.latency_s),
        "cost": lambda row: _cost(row, digits),
        "share": lambda row: "" if row.share is None else f"{row.share:.1%}",
    }
    empty = {"cached": not whole.cached_tokens, "errors": not whole.errors}
    cells = [cell for header, cell in columns.items() if not empty.get(header) and header not in left_out]
    for header, cell in columns.items():
        if cell in cells:
            add_numbers(table, header, cell(whole))
    if "bar" not in left_out:
        table.add_column(width=_BAR)
    for row in visible(rows[: top or None]):
        bar = [] if "bar" in left_out else [Bar(1.0, 0.0, row.share or 0.0, width=_BAR, color="cyan")]
        table.add_row(_name(row.key), *(cell(row) for cell in cells), *bar)
    return table


def print_runs(to: Console, by: Dimension, rows: Sequence[RunSpending], *, top: int = _TOP) -> None:
    """Print how many runs the agents, workflows or tools of each name had, and what one was on average."""
    whole = total(rows)
    assert isinstance(whole, RunSpending)
    digits = digits_for(max(row.cost_per_run or 0.0 for row in rows))
    table = new_table(title=f"Per run of {'an' if by == 'agent' else 'a'} {_words(by)}")
    table.show_footer = True
    table.footer_style = "bold"
    add_names(table, _words(by), "total")
    columns: dict[str, Callable[[RunSpending], RenderableType]] = {
        "runs": lambda row: count(row.runs),
        "failed": lambda row: _alarming(row.failed_runs, "red"),
        "calls per run": lambda row: f"{row.calls_per_run or 0.0:,.1f}",
        "tokens per run": lambda row: count(round(row.tokens_per_run or 0.0)),
        "cost per run": lambda row: money(row.cost_per_run, digits),
    }
    for header, cell in columns.items():
        add_numbers(table, header, cell(whole))
    for row in visible(rows[: top or None]):
        table.add_row(_name(row.key), *(cell(row) for cell in columns.values()))
    to.print(table)
    _print_hidden(to, len(rows), top)


def print_outcomes(to: Console, by: Dimension, costs: Sequence[OutcomeCost], *, top: int = _TOP) -> None:
    """Print the cost of each outcome: per feature, and per `by` if the outcomes are counted by it."""
    keyed = any(cost.key is not None for cost in costs)
    digits = digits_for(max(cost.cost_usd or 0.0 for cost in costs))
    digits_each = digits_for(max(cost.cost_per_outcome or 0.0 for cost in costs))
    table = new_table("outcome", "feature", *([_words(by)] if keyed else []), title="Cost per outcome")
    for header in ("count", "unpriced", "cost", "per outcome"):
        add_numbers(table, header)
    for cost in visible(costs[: top or None]):
        table.add_row(
            Text(cost.name),
            _name(cost.feature),
            *([_name(cost.key)] if keyed else []),
            count(cost.outcomes),
            _alarming(cost.unpriced, "yellow"),
            _cost(cost, digits),
            Text(money(cost.cost_per_outcome, digits_each), style="bold"),
        )
    to.print(table)
    _print_hidden(to, len(costs), top)


def _name(key: str | None) -> Text:
    return Text("(none)", style="dim") if key is None else Text(key)


def _alarming(number: int, style: str) -> Text:
    return Text(count(number), style=style if number else "")


def _cost(spent: Spending | OutcomeCost, digits: int) -> Text:
    if spent.cost_usd is None and spent.unpriced:
        return Text("unpriced", style="yellow")
    return Text(money(spent.cost_usd, digits))


def _print_hidden(to: Console, rows: int, top: int) -> None:
    if top and rows > top:
        to.print(f"{rows - top:,} more rows, included in the whole. Show them with `--top 0`.", style="dim")


def _missing(total: Spending) -> Text:
    reasons = ", ".join(f"{reason}: {calls:,}" for reason, calls in sorted(total.unpriced_reasons.items()))
    return Text.assemble(
        (f"{number_of(total.unpriced, 'call')} unpriced", "yellow"),
        f" ({reasons}). Their cost is unknown and not included.",
    )


def _repeated(retries: Retries) -> str:
    causes = ", ".join(f"{cause}: {times:,}" for cause, times in retries.causes.items())
    return (
        f"{number_of(retries.calls, 'call')} needed {number_of(retries.requests, 'retry', 'retries')}"
        f"{f' ({causes})' if causes else ''}: {money(retries.cost_usd, digits_for(retries.cost_usd))} "
        f"and {retries.duration_s:,.1f} s in total."
    )
