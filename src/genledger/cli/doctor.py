"""`genledger doctor`: check the recorded libraries, the destinations and the configuration."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genledger.cli.apps import new_app
from genledger.cli.output import JsonOption, console, count, number_of, print_json
from genledger.cli.tables import new_table
from genledger.doctor import PROBE_TIMEOUT_S, Choice, DestinationState, Diagnosis, Library, diagnose
from genledger.shared.text import MAX_MESSAGE, visible

app = new_app()


@app.command()
def doctor(
    import_: Annotated[
        bool, typer.Option("--import", help="Import each client library in its own process and check the patches.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Timeout for each destination.")
    ] = PROBE_TIMEOUT_S,
    json: JsonOption = False,
) -> None:
    """Check the setup: libraries, destinations, configuration.

    Reads the installed packages, the environment and the configured files, but not the keywords of `instrument()`
    in your code. Sends a request to each destination. Exits with 1 if it finds a problem.
    """
    found = diagnose(import_libraries=import_, timeout=timeout)
    if json:
        print_json(found)
    else:
        print_diagnosis(console(), found)
    raise typer.Exit(0 if found.ok else 1)


def print_diagnosis(to: Console, found: Diagnosis) -> None:
    """Print the whole diagnosis, problems last."""
    found = visible(found, MAX_MESSAGE)
    to.print(f"Genledger {found.genledger} on Python {found.python}\n", style="bold")
    if found.libraries:
        to.print(_libraries(found.libraries))
        to.print()
    if found.not_installed:
        to.print(f"Not installed: {', '.join(found.not_installed)}\n", style="dim")
    to.print(_destinations(found))
    to.print()
    to.print(_rest(found))
    to.print()
    to.print(_private_uses(found))
    to.print()
    if found.findings:
        to.print(_findings(found))
        to.print()
    wrong = sum(finding.level == "wrong" for finding in found.findings)
    if wrong:
        to.print(f"{number_of(wrong, 'problem')} found.", style="red")
    else:
        to.print("No problems found.", style="green")


def _libraries(libraries: list[Library]) -> Table:
    others = any(library.also_traced_by or library.own_spans for library in libraries)
    table = new_table("library", "installed", "supported", "recorded", *(["also traced by"] if others else []))
    for library in libraries:
        tracers = [f"{one.distribution} {one.version}" for one in library.also_traced_by]
        if library.own_spans:
            tracers.append("itself (replaced)")
        table.add_row(
            Text(library.name, style="bold"),
            Text(library.version, style="" if library.supported else "red"),
            Text(library.supports.removeprefix(library.distribution).strip()),
            _recorded(library),
            *([Text(", ".join(tracers))] if others else []),
        )
    return table


def _recorded(library: Library) -> Text:
    if library.excluded_by is not None:
        return Text(f"no: {library.excluded_by}", style="yellow")
    if library.missing:
        return Text(f"no: {len(library.missing)} missing", style="red")
    if library.patched is None:
        return Text("yes, once imported", style="green")
    return Text(f"yes: {len(library.patched)} patched", style="green")


def _destinations(found: Diagnosis) -> Table:
    table = new_table("destination", "address", "state")
    for destination in found.destinations:
        table.add_row(Text(destination.name, style="bold"), Text(destination.address), _state(destination))
    if not found.destinations:
        table.add_row(Text("none", style="yellow"), "", "")
    return table


def _state(destination: DestinationState) -> Text:
    if destination.answers is None:
        return Text("not checked")
    if destination.answers:
        return Text("ready" if destination.name == "ledger" else "answers", style="green")
    # A receiver that refuses the credentials answers, too.
    problem = (destination.problem or "").removeprefix(f"{destination.address}: ")
    return Text(problem if destination.address and destination.name != "ledger" else "does not work", style="red")


def _rest(found: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (
        ("launcher", f"distro: {_choice(found.distro)}; configurator: {_choice(found.configurator)}"),
        ("ledger", _ledger(found)),
        ("prices", _prices(found)),
        ("budgets", _budgets(found)),
        ("spool", _spool(found)),
    ):
        table.add_row(name, Text(text))
    return table


def _choice(choice: Choice) -> str:
    return "undefined" if choice.chance else choice.loaded or "none"


def _ledger(found: Diagnosis) -> str:
    ledger = found.ledger
    if ledger.problem is not None:
        return f"{ledger.path}: unusable"
    if not ledger.calls:
        return f"{ledger.path}: no calls yet"
    unpriced = sum(ledger.unpriced.values())
    reasons = ", ".join(f"{reason}: {count(calls)}" for reason, calls in sorted(ledger.unpriced.items()))
    parts = [
        f"{ledger.path}: {number_of(ledger.calls, 'call')}",
        f"{unpriced:,} unpriced ({reasons})" if unpriced else "none unpriced",
        _size(ledger.size_bytes),
    ]
    if ledger.last_call is not None:
        parts.append(f"last call {ledger.last_call[:16].replace('T', ' ')} UTC")
    return ", ".join(parts)


def _prices(found: Diagnosis) -> str:
    prices = found.prices
    origin = "downloaded" if prices.fetched else "as installed"
    own = f"{prices.file}: {number_of(prices.own_prices, 'price')}" if prices.file is not None else "no own prices"
    return f"table of {prices.table_date or 'an unknown date'} ({origin}); {own}"


def _budgets(found: Diagnosis) -> str:
    budgets = found.budgets
    rules = f"{budgets.file}: {number_of(budgets.rules, 'rule')}" if budgets.file is not None else "no rule file"
    state = {None: "", True: ", answers", False: ", does not answer"}[budgets.answers]
    return f"{rules}; store: {budgets.store}{state}"


def _spool(found: Diagnosis) -> str:
    spool = found.spool
    if spool.path is None:
        return "off: undelivered records stay in memory only"
    if not spool.records:
        return "empty"
    return f"{spool.path}: {spool.records:,} undelivered records, {_size(spool.size_bytes)}"


def _private_uses(found: Diagnosis) -> Table:
    table = new_table("private attributes of", "used to", "state")
    for use in found.private_uses:
        state = Text("as expected", style="green") if use.works else Text("moved", style="yellow")
        table.add_row(Text(f"{use.package} {use.version}", style="bold"), Text(use.purpose), state)
    return table


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _findings(found: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in sorted(found.findings, key=lambda finding: finding.level, reverse=True):
        style = {"wrong": "red", "note": "yellow"}[finding.level]
        table.add_row(Text(finding.level, style=style), Text.assemble((f"{finding.about}: ", "bold"), finding.message))
    return table
