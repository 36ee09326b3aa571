"""`genledger alerts`: evaluate alert rules, try them on the past, show and snooze them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from genledger.alerting.alert_book import NAME, AlertBook, snooze
from genledger.alerting.evaluator import Round, run_round, surroundings
from genledger.alerting.exports import ExportTarget
from genledger.alerting.exports import export as exported_to
from genledger.alerting.replay import Replayed, replay
from genledger.alerting.rule_findings import RuleFinding
from genledger.alerting.rules import KINDS, AlertFile, AlertRule, read_alert_file
from genledger.alerting.texts import amount, data_of, payload_of, unit_of, window_of
from genledger.budgets import RuleFileError, Store, StoreDown, open_store
from genledger.budgets.rules.scope import scope_part
from genledger.cli.apps import new_app
from genledger.cli.budgets import FileOption, StoreOption, duration, pairs_of
from genledger.cli.ledgers import LedgerOption, existing_ledger
from genledger.cli.output import JsonOption, console, fail, moment, number_of, print_json, tell, warn, write_files
from genledger.cli.tables import add_numbers, fitting, new_table
from genledger.ledger import Ledger, LedgerError
from genledger.ledger.query import QueryError
from genledger.shared.text import message, shown

app = new_app()


class _Opened(NamedTuple):
    path: str
    file: AlertFile
    store: Store


@app.callback()
def alerts(context: typer.Context, file: FileOption = None, store: StoreOption = None) -> None:
    """Evaluate alert rules, try them on the past, and snooze them."""
    if file is None:
        fail("there is no rule file. Name one with GENLEDGER_BUDGETS or `genledger alerts --file`")
    if store == "off":
        fail("GENLEDGER_BUDGET_STORE=off: it is kept nowhere what has been told; name a store with --store")
    path = str(Path(file).expanduser())
    try:
        read = read_alert_file(path)
        opened = open_store(store or read.store)
    except RuleFileError as error:
        fail(*error.lines)
    except (ValueError, ModuleNotFoundError) as error:
        fail(error)
    if not read.alert:
        fail(f"{path} has no [[alert]] table. docs/alerts.md describes the rules")
    context.obj = _Opened(path, read, opened)


@app.command()
def run(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Evaluate once (the default).")] = False,
    watch: Annotated[
        float | None, typer.Option("--watch", metavar="SECONDS", help="Evaluate again and again.", min=1)
    ] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Evaluate the rules now: send what began and what ended, and act."""
    if once and watch is not None:
        raise typer.BadParameter("--once and --watch exclude each other; give one of them")
    opened: _Opened = context.obj
    path = existing_ledger(ledger)
    if watch is None:
        done = _round(opened, path)
        _print_round(done, json=json)
        if done.problems or not done.delivered:
            raise typer.Exit(1)
        return
    with suppress(KeyboardInterrupt):
        complaint: tuple[str, ...] = ()
        while True:
            try:
                opened = opened._replace(file=read_alert_file(opened.path))
                complaint = ()
            except RuleFileError as error:
                if error.lines != complaint:
                    complaint = error.lines
                    warn(*complaint, "the previous rules stay in force until you correct the file")
            try:
                done = run_round(opened.file, Ledger(path), opened.store, every_rule=False)
                _print_round(done, json=json, brief=True)
            except (LedgerError, StoreDown) as error:
                warn(f"{error}; it is tried again in {watch:g} s")
            time.sleep(watch)


def _round(opened: _Opened, path: Path) -> Round:
    try:
        return run_round(opened.file, Ledger(path), opened.store)
    except (LedgerError, StoreDown) as error:
        fail(error)


def _print_round(done: Round, *, json: bool, brief: bool = False) -> None:
    if json:
        print_json([notice.payload for notice in done.notices])
    else:
        for notice in done.notices:
            console().print(Text(f"{notice.title}\n{notice.text}\n"), soft_wrap=True)
        if not done.notices and not brief:
            firing = sum(1 for finding in done.findings if finding.verdict.firing)
            going_on = f"; {number_of(firing, 'alert')} of before {'go' if firing != 1 else 'goes'} on" * bool(firing)
            tell(f"Nothing new in {number_of(len(done.findings), 'check')}{going_on}.")
    for problem in done.problems:
        warn(problem)
    if not done.delivered:
        warn("not every channel has taken every message; the next run delivers the rest")


@app.command("test")
def try_rules(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="WHEN", help="Start: 30d, 24h ago, or an ISO date.")] = "30d",
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="End, in the same format (default: now).")] = None,
    rule: Annotated[str | None, typer.Option(help="Only this rule.")] = None,
    ledger: LedgerOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the rules would have sent about the past. Sends nothing and does nothing."""
    opened: _Opened = context.obj
    now = datetime.now(UTC)
    begin = moment(since, "--since", now)
    end = moment(until, "--until", now) if until is not None else now
    if begin is None or end is None:
        raise typer.BadParameter("expected a duration such as 30d, or a date", param_hint="--since")
    if begin >= end:
        raise typer.BadParameter(f"--since {since} is not before --until {until or 'now'}", param_hint="--since")
    rules = _named(opened.file, rule)
    path = existing_ledger(ledger)
    try:
        around = surroundings(opened.file, opened.store)
        found = replay(rules, Ledger(path), around, begin, end)
    except (LedgerError, StoreDown, QueryError) as error:
        fail(error)
    if json:
        print_json(
            [
                {"at": fired.at.isoformat(), **payload_of(fired.finding, ())}
                for replayed in found
                for fired in replayed.fired
            ]
        )
        return
    _print_replayed(found, begin, end)


def _named(file: AlertFile, name: str | None) -> list[AlertRule]:
    rules = [rule for rule in file.alert if name is None or rule.name == name]
    if not rules:
        there = ", ".join(repr(rule.name) for rule in file.alert)
        raise typer.BadParameter(f"there is no alert {name!r}; there are {there}", param_hint="RULE")
    return rules


def _variants(dispensable: tuple[str, ...]) -> list[frozenset[str]]:
    """Return what to leave out, from nothing to everything that a narrow terminal can do without."""
    return [frozenset(dispensable[:count]) for count in range(len(dispensable) + 1)]


_LESS_OF_FIRED = ("judged by", "form", "limit", "expected")
_LESS_OF_RULES = ("alert when", "action", "form", "above", "snoozed until (UTC)")
"""Columns that a narrow terminal omits, first to last."""


def _fired_table(findings: Sequence[RuleFinding], title: str, left_out: frozenset[str]) -> Table:
    names: dict[str, Callable[[RuleFinding], str]] = {
        "window": window_of,
        "rule": lambda one: one.rule.name,
        "form": lambda one: one.rule.form,
        "scope": lambda one: f"{one.label} {one.subject}".strip(),
        "judged by": data_of,
    }
    numbers: dict[str, Callable[[RuleFinding], str]] = {
        "value": lambda one: amount(one.verdict.value, unit_of(one)),
        "expected": lambda one: amount(one.verdict.expected, unit_of(one)),
        "limit": lambda one: amount(one.verdict.limit, unit_of(one)),
    }
    names, numbers = (
        {heading: cell for heading, cell in each.items() if heading not in left_out} for each in (names, numbers)
    )
    table = new_table(*names, title=title)
    for heading in numbers:
        add_numbers(table, heading)
    for finding in findings:
        table.add_row(*(Text(shown(cell(finding))) for cell in (*names.values(), *numbers.values())))
    return table


def _print_replayed(found: list[Replayed], begin: datetime, end: datetime) -> None:
    to = console()
    rows = sorted(
        (fired for replayed in found for fired in replayed.fired), key=lambda fired: (fired.at, fired.finding.key)
    )
    if rows:
        title = f"Alerts from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
        findings = [fired.finding for fired in rows]
        to.print(fitting(to, lambda left_out: _fired_table(findings, title, left_out), _variants(_LESS_OF_FIRED)))
    to.print(f"{number_of(len(rows), 'alert')} by {number_of(len(found), 'rule')}.", soft_wrap=True)
    for replayed in found:
        if replayed.unsure:
            to.print(
                Text(
                    message(
                        f"{replayed.rule.name}: {replayed.data} for {replayed.unsure:,} "
                        f"of {number_of(replayed.scopes, 'scope')}"
                    )
                ),
                soft_wrap=True,
            )


@app.command("list")
def list_(context: typer.Context, json: JsonOption = False) -> None:
    """Show the rules, what is snoozed, and the alerts that go on."""
    opened: _Opened = context.obj
    try:
        book, now = AlertBook.read(opened.store.document(NAME)), opened.store.now()
    except StoreDown as error:
        fail(error)
    book.forget(now)
    if json:
        rules = [{**rule.model_dump(exclude_none=True), "above": rule.thresholds} for rule in opened.file.alert]
        print_json({"rules": rules, **asdict(book)})
        return
    to = console()
    to.print(fitting(to, lambda left_out: _rule_table(opened.file.alert, book, left_out), _variants(_LESS_OF_RULES)))
    for alert in book.firing().values():
        since = datetime.fromtimestamp(alert["since"], UTC)
        to.print(
            Text(f"\n{alert['title']} (since {since:%Y-%m-%d %H:%M} UTC)\n{alert['payload']['text']}"), soft_wrap=True
        )


def _rule_table(rules: Sequence[AlertRule], book: AlertBook, left_out: frozenset[str]) -> Table:
    columns: dict[str, Callable[[AlertRule], str]] = {
        "rule": lambda rule: rule.name,
        "form": lambda rule: rule.form,
        "alert when": lambda rule: KINDS[rule.kind].says,
        "scope": lambda rule: " ".join(f"{field}={one}" for field, one in rule.patterns.items()) or "everything",
        "above": _thresholds,
        "action": lambda rule: rule.action,
        "firing": lambda rule: str(sum(alert["rule"] == rule.name for alert in book.firing().values()) or ""),
        "snoozed until (UTC)": lambda rule: _snoozed(rule, book),
    }
    columns = {heading: cell for heading, cell in columns.items() if heading not in left_out}
    table = new_table(*columns)
    for rule in rules:
        table.add_row(*(Text(shown(cell(rule))) for cell in columns.values()))
    return table


def _snoozed(rule: AlertRule, book: AlertBook) -> str:
    until = max((at for name, at in book.snoozed.items() if name.split("|")[0] == rule.name), default=0.0)
    return f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}" if until else ""


def _thresholds(rule: AlertRule) -> str:
    unit = {"percent": " %", "USD": " USD", "ratio": " times", "records": " records"}.get(rule.unit, "")
    if not rule.unit:
        return ""
    return ", ".join(f"{above:.1%}" if rule.unit == "share" else f"{above:g}{unit}" for above in rule.thresholds)


@app.command("snooze")
def snooze_(
    context: typer.Context,
    rule: Annotated[str, typer.Argument(metavar="RULE")],
    scope: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Only this scope, such as tenant=acme.")
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="30m, 2h, 1d.")] = None,
    off: Annotated[bool, typer.Option("--off", help="End the snooze.")] = False,
) -> None:
    """Send nothing new about a rule for a while. What ends meanwhile is still told."""
    opened: _Opened = context.obj
    if off == (for_ is not None):
        raise typer.BadParameter("give either --for TIME or --off")
    (named,) = _named(opened.file, rule)
    label = " ".join(scope_part(key, value) for key, value in pairs_of(scope or ()).items())
    try:
        until = opened.store.now() + duration(for_) if for_ is not None else 0.0
        snooze(opened.store, named.name, label, until)
    except StoreDown as error:
        fail(error)
    about = f"{named.name} {label}".strip()
    if off:
        tell(f"Alert {about} is on again.")
    else:
        at = datetime.fromtimestamp(until, UTC)
        tell(f"Alert {about} is snoozed until {at:%Y-%m-%d %H:%M} UTC. End it with `--off`.")


@app.command()
def export(
    context: typer.Context,
    target: Annotated[ExportTarget, typer.Argument(help="Whose files.", show_default=False)],
    dir: Annotated[Path, typer.Option("--dir", help="Folder that they are written to.")] = Path("alerts"),
) -> None:
    """Write the rules as files for Prometheus, Datadog or Honeycomb.

    What a target has no words for is left out, and said.
    """
    opened: _Opened = context.obj
    found = exported_to(target, opened.file)
    write_files(dir / target, found.files)
    for name, why in found.left_out.items():
        warn(f"rule {name!r} is left out: {why}")
    tell(
        f"Wrote {number_of(len(found.files), 'file')} to {dir / target}. docs/dashboards.md says what to do with them."
    )
