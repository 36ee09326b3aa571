"""`genledger report weekly`: a week against the week before, on the terminal, as Markdown or HTML, and to channels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from genledger.cli.document_output import as_markdown, print_document
from genledger.cli.ledgers import LedgerOption, existing_ledger, no_calls_in
from genledger.cli.output import JsonOption, console, fail, number_of, print_json, tell, time_text, warn
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.traces import last_call
from genledger.reports.document import Document, as_html
from genledger.reports.weekly import Week, WeekError, Weekly, read_week, weekly
from genledger.reports.weekly_document import weekly_document

SCHEMA = "genledger.weekly/1"
"""The schema of the report as data."""


def report_weekly(
    week: Annotated[
        str | None, typer.Option(metavar="WEEK", help="Week, such as 2026-W47 (default: the last one that is over).")
    ] = None,
    tz: Annotated[
        str, typer.Option(metavar="ZONE", help="Time zone of days and weeks, such as Europe/Berlin.")
    ] = "UTC",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for chats and mail.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write one HTML file.", show_default=False)] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Send it to a notification URL, as in [alerts]; may be repeated."),
    ] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Compare a week with the week before."""
    if json and markdown:
        raise typer.BadParameter("--json and --markdown are two formats; give one of them", param_hint="--markdown")
    try:
        chosen = read_week(week, tz, datetime.now(UTC))
    except WeekError as error:
        raise typer.BadParameter(str(error), param_hint="--tz" if "time zone" in str(error) else "--week") from None
    path = existing_ledger(ledger)
    try:
        with Ledger(path).reading() as connection:
            found = weekly(connection, chosen, tz)
            last_ns = last_call(connection)
    except LedgerError as error:
        fail(error)
    if last_ns is None:
        fail(no_calls_in(path))
    if found.empty and not json:
        none = f"Week {chosen.name} and the week before have no calls."
        tell(f"{none} The last call in {path} was at {time_text(last_ns)} UTC.")
        return
    document = weekly_document(found)
    if html is not None:
        _write(html, as_html(document))
    if to:
        _send(to, document, as_data(found))
    if json:
        print_json({"schema": SCHEMA, "ledger": str(path), **as_data(found)})
    elif markdown:
        typer.echo(as_markdown(document), nl=False)
    elif html is None and not to:
        print_document(console(), document)


def as_data(found: Weekly) -> dict[str, Any]:
    """Return the report as data: every number."""
    data = asdict(found)
    week: Week = found.week
    data["week"] = {**week._asdict(), "over": week.over}
    return data


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {file}: {error.strerror}")
    tell(f"Wrote {file}.")


def _send(urls: Sequence[str], document: Document, data: Mapping[str, Any]) -> None:
    """Send a report to each URL, as Markdown; exit with an error if one of them has not taken it."""
    from genledger.channels.apprise_urls import AppriseUrl
    from genledger.channels.message import ChannelUnusable, Notice

    _, _, text = as_markdown(document).partition("\n\n")
    payload = {"schema": SCHEMA, "text": text, **data}
    notice = Notice(document.title, text, payload, time.time(), markdown=True)
    failed = []
    for url in urls:
        channel = AppriseUrl(url)
        try:
            taken = channel.open() and channel.send(notice)
        except ChannelUnusable as error:
            fail(error)
        except Exception as error:
            taken = False
            warn(f"{channel.kind}: {type(error).__name__}")
        if not taken:
            failed.append(
                f"the report was not sent to the URL that begins with {channel.kind!r}; correct or try it again"
            )
    if failed:
        fail(*failed)
    tell(f"Sent the report to {number_of(len(urls), 'receiver')}.")
