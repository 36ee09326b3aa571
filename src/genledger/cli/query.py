"""`genledger query`: any metric by any field over time, as a table, JSON, CSV or Parquet."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from genledger.cli.answers import described, listed, print_answer, print_csv, whole_of, write_parquet
from genledger.cli.apps import new_app
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import JsonOption, console, fail, print_json, tell
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.fields import FIELDS, METRICS, OUTCOME_NAME
from genledger.ledger.query import Answer, Query, QueryError, ask
from genledger.ledger.traces import last_call
from genledger.reports.periods import PeriodError
from genledger.reports.questions import Question, read_condition

_TOP = 30

app = new_app()


def _names(what: str, names: Iterable[str]) -> str:
    return textwrap.fill(f"{what}: {', '.join(names)}.", 78, subsequent_indent="  ", break_on_hyphens=False)


_HELP = f"""Ask for any metric, by any field, over time.

Give several metrics, fields or conditions with commas, or by repeating the option.

\b
  genledger query
      cost and calls of the last seven days
  genledger query --by feature,model --since yesterday
      what each feature spent yesterday, by model
  genledger query -m cost --every day --since last-week --tz Europe/Berlin
      a daily trend, in days of Berlin
  genledger query -m cost --where tenant=acme --where feature=copilot
      what one tenant spent on one feature
  genledger query -m cost --by feature --since last-week --compare previous
      against the week before
  genledger query -m cost,calls --by trace --top 10
      the dearest traces
  genledger query -m latency_p95,error_rate --by model --where "model~gpt*" --csv
      for a spreadsheet

\b
{_names("Metrics", METRICS)}
{_names("Fields", (*FIELDS, OUTCOME_NAME, "metadata.KEY"))}
Conditions: FIELD=VALUE, FIELD!=VALUE, FIELD~GLOB; VALUE,VALUE for any of them;
  an empty VALUE for calls without one.

\b
A named day, week or month is the whole of it; a duration or a date goes on until
now. docs/questions.md answers the usual questions, each with one command.
"""


@app.command(help=_HELP)
def query(
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="NAMES", help="What to measure (default: cost,calls)."),
    ] = None,
    by: Annotated[list[str] | None, typer.Option(metavar="FIELDS", help="Group by these fields.")] = None,
    every: Annotated[str | None, typer.Option(metavar="GRAIN", help="Over time: hour, day, week or month.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only calls that meet it: tenant=acme, model!=gpt-4o, feature~search*."),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="Period, or its start: yesterday, last-week, 7d, 24h, an ISO date, all.")
    ] = "7d",
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="End of the period, in the same words.")] = None,
    tz: Annotated[str, typer.Option(metavar="ZONE", help="Time zone in which days begin: Europe/Berlin.")] = "UTC",
    compare: Annotated[str | None, typer.Option(metavar="previous", help="Compare with the period before.")] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Sort by a column; -COLUMN puts the largest first.")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=0, metavar="ROWS", help=f"Maximum rows; 0 for all (default: {_TOP} in a table, else all)."),
    ] = None,
    source: Annotated[
        str, typer.Option("--from", metavar="SOURCE", help="Whom to ask: ledger, or langfuse.")
    ] = "ledger",
    ledger: LedgerOption = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Parquet file (needs genledger[analytics]).")
    ] = None,
) -> None:
    """Ask for any metric, by any field, over time."""
    if json + csv + (parquet is not None) > 1:
        fail("--json, --csv and --parquet are ways to put the same answer; give one of them")
    asks = {"ledger": _ask_ledger, "langfuse": _ask_langfuse}.get(source)
    if asks is None:
        fail(f"--from {source} is neither ledger nor langfuse")
    table = not (json or csv or parquet)
    try:
        question = Question(
            metrics=listed(metric) or ("cost", "calls"),
            by=listed(by),
            every=every,
            where=tuple(map(read_condition, where or ())),
            since=since,
            until=until,
            tz=tz,
            compare=compare,
            order=sort,
        )
        now = datetime.now(UTC)
        with asks(ledger) as (name, answer):
            found = question.find(answer, now)
            whole = whole_of(question, answer, now) if table else None
    except (QueryError, PeriodError, LedgerError) as error:
        fail(error)
    limit = top if top is not None else _TOP if table else 0
    if json:
        print_json({"source": name, **described(found), "rows": found.rows[: limit or None]})
    elif csv:
        print_csv(replace(found, rows=found.rows[: limit or None]))
    elif parquet is not None:
        write_parquet(replace(found, rows=found.rows[: limit or None]), parquet)
    elif found.rows:
        print_answer(console(), found, whole, top=limit)
    else:
        tell(f"No calls match in {name}. Try `--since all`, or fewer conditions.")


Source = tuple[str, Callable[[Query], Answer]]
"""The name of what is asked, and what answers."""


@contextmanager
def _ask_ledger(given: Path | None) -> Iterator[Source]:
    path = existing_ledger(given)
    with Ledger(path).reading() as connection:
        if last_call(connection) is None:
            fail(no_calls_in(path))
        yield str(path), lambda asked: ask(connection, asked)


@contextmanager
def _ask_langfuse(given: Path | None) -> Iterator[Source]:
    from genledger.destinations.langfuse.api_client import LangfuseApiError
    from genledger.destinations.langfuse.langfuse_metrics import LangfuseMetrics

    if given is not None:
        fail("--ledger names a file, and --from langfuse asks Langfuse; give one of them")
    try:
        metrics = LangfuseMetrics()
        yield metrics.name, metrics.ask
    except LangfuseApiError as error:
        fail(error)
