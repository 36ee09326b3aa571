"""`genledger report`: spend by dimension, means per run, cost per outcome, retries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer
from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from genledger.cli.answers import described, listed, name_of, print_answer, print_hidden, print_matrix, whole_of, words
from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import (
    JsonOption,
    console,
    count,
    digits_for,
    fail,
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
from genledger.ledger.fields import FIELDS, METADATA
from genledger.ledger.queries import OutcomeCost, Report, Retries
from genledger.ledger.query import Filter, QueryError, ask
from genledger.ledger.run_spending import RunSpending, total
from genledger.ledger.spending import DAY, Selection, Spending
from genledger.ledger.traces import last_call
from genledger.reports.periods import PeriodError, between, epoch_ns, read_zone
from genledger.reports.questions import Question
from genledger.shared.text import visible

_BAR = 20
_TOP = 30
_TOP_TRACES = 10

# Columns that a narrow terminal omits, first to last.
_DISPENSABLE = tuple(frozenset(("bar", "latency", "cached", "errors", "unpriced")[:count]) for count in range(6))

app = new_app(invoke_without_command=True)
app.command("weekly")(report_weekly)


@app.callback()
def report(
    context: typer.Context,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELDS",
            help="Group spend by feature (default), tenant, model, day, user, session, prompt_version, provider, tag, "
            "metadata.KEY, agent, workflow, tool, trace, or another field of calls. Two make a matrix.",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Period, or its start: yesterday, last-week, 7d, 24h, an ISO date, all.")
    ] = "7d",
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="End of the period, in the same words (default: now).")
    ] = None,
    tz: Annotated[str, typer.Option(metavar="ZONE", help="Time zone in which days begin: Europe/Berlin.")] = "UTC",
    tenant: Annotated[str | None, typer.Option(help="Only calls of this tenant.")] = None,
    feature: Annotated[str | None, typer.Option(help="Only calls of this feature.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by a column; -COLUMN puts the largest first.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=0, help=f"Maximum rows; 0 for all (default: {_TOP}, of traces {_TOP_TRACES}). JSON has all."),
    ] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show spend by feature, tenant, model or another dimension.

    \b
      genledger report --by tenant --since last-week --tz Europe/Berlin
      genledger report --by tenant --by model           # a matrix of costs
      genledger report --by trace                       # the dearest traces
      genledger report --by agent                       # with the means per run
      genledger report --by metadata.plan --sort -calls

    For other metrics, grains of time, conditions and comparisons, see `genledger query --help`.
    """
    if context.invoked_subcommand is not None:
        sources = ((name, context.get_parameter_source(name)) for name in context.params)
        given = [name for name, source in sources if source is not None and source.name == "COMMANDLINE"]
        if given:
            name = context.invoked_subcommand
            context.fail(f"put the options of `genledger report {name}` after `{name}`, not before it")
        return
    fields = _fields(by)
    now = datetime.now(UTC)
    try:
        begin, end = between(since, until, tz, now)
        selection = Selection(epoch_ns(begin), epoch_ns(end), tenant, feature)
    except PeriodError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    path = existing_ledger(ledger)
    most = top if top is not None else _TOP_TRACES if fields == ("trace",) else _TOP
    if len(fields) > 1:
        where = tuple(
            Filter(name, "=", (value,))
            for name, value in (("tenant", tenant), ("feature", feature))
            if value is not None
        )
        every = DAY if DAY in fields else None
        names = tuple(name for name in fields if name != DAY)
        question = Question(
            metrics=("cost", "calls"), by=names, every=every, where=where, since=since, until=until, tz=tz, order=sort
        )
        show_several(path, question, now, fields, top=most, json=json)
        return
    try:
        with Ledger(path).reading() as connection:
            found = queries.report(connection, fields[0], selection, tz)
            last_ns = last_call(connection)
        if sort is not None:
            found = replace(found, rows=_sorted(found.rows, sort, fields[0]))
    except (LedgerError, QueryError) as error:
        fail(error)
    if json:
        period = {"since": begin and begin.isoformat(), "until": end and end.isoformat()}
        print_json({"ledger": str(path), **period, "tenant": tenant, "feature": feature, **asdict(found)})
    elif found.rows or found.outcomes:
        print_report(console(), found, title=_title(fields[0], begin, end, tz), top=most)
    elif last_ns is None:
        tell(no_calls_in(path))
    else:
        tell(f"No calls match. The last call in {path} was at {time_text(last_ns)} UTC; try `--since all`.")


def _fields(by: list[str] | None) -> tuple[str, ...]:
    names = listed(by) or ("feature",)
    for name in names:
        if name not in FIELDS and name != DAY and not (name.startswith(METADATA) and name != METADATA):
            known = ", ".join(
                f"{known!r}" for known in ("feature", *(one for one in (DAY, *FIELDS) if one != "feature"))
            )
            raise typer.BadParameter(f"{name!r} is not one of {known}, 'metadata.KEY'", param_hint="'--by'")
    return names


def _sorted(rows: Sequence[Spending], by: str, field: str) -> list[Spending]:
    name, down = by.removeprefix("-"), by.startswith("-")
    column = {"cost": "cost_usd", "latency": "latency_s", "input": "input_tokens", "output": "output_tokens"}
    column |= {name: name for name in ("calls", "errors", "unpriced")} | {"cached": "cached_tokens", field: "key"}
    if name not in column:
        raise QueryError(f"there is no column {name!r} to sort by; there are {', '.join(column)}")
    values = [(getattr(row, column[name]), row) for row in rows]
    known = [(value, row) for value, row in values if value is not None]
    known.sort(key=itemgetter(0), reverse=down)
    return [row for _, row in known] + [row for value, row in values if value is None]


def show_several(
    path: Path, question: Question, now: datetime, fields: tuple[str, ...], *, top: int, json: bool
) -> None:
    """Show spend by several fields: two as a matrix, more as a table."""
    try:
        with Ledger(path).reading() as connection:
            answer = partial(ask, connection)
            found = question.find(answer, now)
            whole = whole_of(question, answer, now)
    except (LedgerError, QueryError, PeriodError) as error:
        fail(error)
    if json:
        print_json({"source": str(path), **described(found), "rows": found.rows})
    elif not found.rows:
        tell(f"No calls match in {path}. Try `--since all`.")
    elif len(fields) == 2:
        down, across = ("time" if name == DAY else name for name in fields)
        print_matrix(console(), found, whole, down, across, top=top)
    else:
        print_answer(console(), found, whole, top=top)


def _title(by: str, begin: datetime | None, end: datetime | None, tz: str) -> str:
    zone = read_zone(tz)
    period = [
        f"{word} {when.astimezone(zone):%Y-%m-%d %H:%M} {tz}"
        for word, when in (("since", begin), ("until", end))
        if when
    ]
    return ", ".join([f"Spend by {words(by)}", *period])


def print_report(to: Console, found: Report, *, title: str, top: int = _TOP) -> None:
    """Print a report: spend, unpriced calls, retries, means per run, and cost per outcome.

    Args:
        to: Console to print to.
        found: Report from `genledger.ledger.queries.report`.
        title: Printed above the first table.
        top: Maximum rows of each table; 0 for all.
    """
    shown = [row for row in found.rows if row.calls]
    print_spending(to, found.by, shown, title=title, top=top, whole=found.total)
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


def print_spending(
    to: Console, by: str, rows: Sequence[Spending], *, title: str, top: int = _TOP, whole: Spending | None = None
) -> None:
    """Print one breakdown of the spend with its total. Omit columns that do not fit."""
    whole = whole or total(rows)
    # The bars are drawn with block characters, which not every encoding has.
    variants = _DISPENSABLE[1:] if to.options.ascii_only else _DISPENSABLE
    to.print(fitting(to, lambda left_out: _spending_table(by, rows, whole, title, top, left_out), variants))
    print_hidden(to, len(rows), top)


def _spending_table(
    by: str, rows: Sequence[Spending], whole: Spending, title: str, top: int, left_out: frozenset[str]
) -> Table:
    digits = digits_for(whole.cost_usd)
    table = new_table(title=title)
    table.show_footer = True
    table.footer_style = "bold"
    add_names(table, words(by), "total")
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
        table.add_row(name_of(row.key), *(cell(row) for cell in cells), *bar)
    return table


def print_runs(to: Console, by: str, rows: Sequence[RunSpending], *, top: int = _TOP) -> None:
    """Print how many runs the agents, workflows or tools of each name had, and what one was on average."""
    whole = total(rows)
    assert isinstance(whole, RunSpending)
    digits = digits_for(max(row.cost_per_run or 0.0 for row in rows))
    table = new_table(title=f"Per run of {'an' if by == 'agent' else 'a'} {words(by)}")
    table.show_footer = True
    table.footer_style = "bold"
    add_names(table, words(by), "total")
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
        table.add_row(name_of(row.key), *(cell(row) for cell in columns.values()))
    to.print(table)
    print_hidden(to, len(rows), top)


def print_outcomes(to: Console, by: str, costs: Sequence[OutcomeCost], *, top: int = _TOP) -> None:
    """Print the cost of each outcome: per feature, and per `by` if the outcomes are counted by it."""
    keyed = any(cost.key is not None for cost in costs)
    digits = digits_for(max(cost.cost_usd or 0.0 for cost in costs))
    digits_each = digits_for(max(cost.cost_per_outcome or 0.0 for cost in costs))
    table = new_table("outcome", "feature", *([words(by)] if keyed else []), title="Cost per outcome")
    for header in ("count", "unpriced", "cost", "per outcome"):
        add_numbers(table, header)
    for cost in visible(costs[: top or None]):
        table.add_row(
            Text(cost.name),
            name_of(cost.feature),
            *([name_of(cost.key)] if keyed else []),
            count(cost.outcomes),
            _alarming(cost.unpriced, "yellow"),
            _cost(cost, digits),
            Text(money(cost.cost_per_outcome, digits_each), style="bold"),
        )
    to.print(table)
    print_hidden(to, len(costs), top)


def _alarming(number: int, style: str) -> Text:
    return Text(count(number), style=style if number else "")


def _cost(spent: Spending | OutcomeCost, digits: int) -> Text:
    if spent.cost_usd is None and spent.unpriced:
        return Text("unpriced", style="yellow")
    return Text(money(spent.cost_usd, digits))


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
