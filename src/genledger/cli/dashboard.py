"""`genledger dashboard`: the local page, served or as a file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from genledger.cli.apps import new_app
from genledger.cli.budgets import standing_budgets
from genledger.cli.ledgers import LedgerOption, existing_ledger
from genledger.cli.output import fail, tell
from genledger.dashboards.local_page.chart_library import LibraryMissing
from genledger.dashboards.local_page.ledger_source import Readers, roll_up
from genledger.dashboards.local_page.one_file import one_file
from genledger.dashboards.local_page.page import Source
from genledger.dashboards.local_page.server import BindError, PageServer
from genledger.dashboards.local_page.view import View, read_conditions
from genledger.ledger import LedgerError
from genledger.ledger.query import QueryError
from genledger.reports.periods import PeriodError, between, read_zone
from genledger.shared.private_files import FILE_MODE

app = new_app()


@app.command()
def dashboard(
    context: typer.Context,
    ledger: LedgerOption = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the page as one file, for mail, and serve nothing.", show_default=False
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(metavar="WHEN", help="Period at first: 7d, last-week, a date (default: each dashboard's own)."),
    ] = "",
    until: Annotated[str, typer.Option(metavar="WHEN", help="Its end (default: now).")] = "",
    tz: Annotated[str, typer.Option(metavar="ZONE", help="Time zone that days begin in.")] = "UTC",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="Only these calls: tenant=acme, model!=gpt-4o, feature~search*.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to serve at; any but loopback needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8321,
    token: Annotated[
        str,
        typer.Option(
            envvar="GENLEDGER_DASHBOARD_TOKEN",
            help="What readers have to give, once in each browser.",
            show_default=False,
        ),
    ] = "",
    budgets: Annotated[
        str | None,
        typer.Option(metavar="PATH", envvar="GENLEDGER_BUDGETS", help="Rule file of the budgets.", show_default=False),
    ] = None,
    budget_store: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="GENLEDGER_BUDGET_STORE", help="Their store, if not the file's.", show_default=False
        ),
    ] = None,
) -> None:
    """Show the dashboards in a browser, or write them to a file.

    The page is made from the ledger. It needs no network, and changes nothing.
    """
    path = existing_ledger(ledger)
    readers = Readers(path)
    try:
        read_zone(tz)
        conditions = read_conditions(where or ())
        if since or until:
            between(since or "all", until or None, tz, datetime.now(UTC))
        readers.check()
    except (PeriodError, QueryError, LedgerError) as error:
        fail(error)
    standing = standing_budgets(context, budgets, budget_store) if budgets else None
    source = Source(str(path), readers.ask, readers.find, standing)
    view = View(since=since, until=until, zone=tz, where=conditions)
    try:
        if html is not None:
            roll_up(path)
            _write(html, one_file(view, source, datetime.now(UTC)))
            return
        server = PageServer(source, view, host=host, port=port, token=token)
    except (LibraryMissing, BindError) as error:
        fail(error)
    except OSError as error:
        fail(f"--host {host} --port {port}: {error}; name another port, or 0 for any that is free")
    threading.Thread(target=roll_up, args=(path,), name="genledger-rollups", daemon=True).start()
    secret = " Readers need the token." if token else ""
    tell(f"The dashboards of {path} are at {server.url} until this command is stopped (Ctrl+C).{secret}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


def _write(path: Path, chunks: Iterable[str]) -> None:
    """Write a file for its owner only: it names tenants, and what was spent on them."""
    written = 0
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "w", encoding="utf-8", errors="replace"
        ) as to:
            for chunk in chunks:
                written += to.write(chunk)
    except OSError as error:
        fail(f"--html {path}: {error}; name a file that can be written")
    tell(f"Wrote the dashboards to {path}, {written / 1e6:.1f} MB.")
