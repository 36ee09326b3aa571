"""`genledger budgets`, `genledger kill` and `genledger revive`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from genledger.budgets.budget_alerts import Alerts
from genledger.budgets.budget_status import BudgetStatus, read_status
from genledger.budgets.enforcement import kill_switch
from genledger.budgets.enforcement.kill_switch import Controls, Kill
from genledger.budgets.rules.rule import MEASURES, Rule
from genledger.budgets.rules.rule_file import Rulebook, RuleFileError, read_rules, rules_instead
from genledger.budgets.rules.scope import FIELDS, RuleError
from genledger.budgets.stores import Store, StoreDown, file_of, open_store
from genledger.cli.output import JsonOption, console, count, digits_for, fail, money, print_json, tell, warn
from genledger.shared.text import MAX_MESSAGE, message, shown, visible

_WIDE = 100
_BAR = 20
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

FileOption = Annotated[
    str | None,
    typer.Option("--file", metavar="PATH", envvar="GENLEDGER_BUDGETS", help="Rule file.", show_default=False),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="GENLEDGER_BUDGET_STORE",
        help="Budget store (default: the one in the rule file, else the user's own file).",
        show_default=False,
    ),
]
WhoOption = Annotated[str | None, typer.Option(help="Name recorded in the audit log (default: current user).")]
Words = Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")]

app = typer.Typer(add_completion=False, invoke_without_command=True)
kill_app = typer.Typer(add_completion=False)
revive_app = typer.Typer(add_completion=False)


@app.callback()
def budgets(
    context: typer.Context,
    file: FileOption = None,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second.")] = False,
    json: JsonOption = False,
) -> None:
    """Show every budget: limit, settled, reserved, left, and when it resets."""
    book, opened = _open(context, file, store, show=context.invoked_subcommand is None)
    context.obj = opened
    if context.invoked_subcommand is not None:
        return
    try:
        if json:
            statuses, controls = _read(opened, book)
            print_json({"budgets": statuses, "kills": [_plain(kill) for kill in controls.kills]})
        elif watch:
            with suppress(KeyboardInterrupt), Live(console=console(), auto_refresh=False) as live:
                while True:
                    live.update(_view(*_read(opened, book)), refresh=True)
                    time.sleep(1)
        else:
            console().print(_view(*_read(opened, book)))
    except StoreDown as error:
        fail(error)


@app.command("set")
def set_(context: typer.Context, words: Words, who: WhoOption = None) -> None:
    """Set a budget for all processes: `tenant=acme usd=50/day`; or a tenant's tier: `tenant=acme tier=pro`."""
    fields = _pairs(words)
    try:
        if set(fields) == {"tenant", "tier"}:
            kill_switch.set_tier(context.obj, fields["tenant"], fields["tier"], who=who)
            tell(f"Set tier {fields['tier']} for {fields['tenant']}.")
        else:
            rule = kill_switch.set_budget(context.obj, _rule_fields(fields), who=who)
            tell(f"Budget set. Remove it with `genledger budgets unset '{rule.name}'`.")
    except (RuleError, StoreDown) as error:
        fail(error)


@app.command()
def unset(context: typer.Context, name: Annotated[str, typer.Argument()], who: WhoOption = None) -> None:
    """Remove a budget that was set with `set`."""
    try:
        kill_switch.unset_budget(context.obj, name, who=who)
    except (RuleError, StoreDown) as error:
        fail(error)
    tell(f"Removed budget {name!r}.")


@app.command()
def log(context: typer.Context, json: JsonOption = False) -> None:
    """Show the audit log: what was set, killed and revived, by whom and why."""
    try:
        entries = Controls.read(context.obj.document()).log
    except StoreDown as error:
        fail(error)
    if json:
        print_json(entries)
        return
    table = Table(box=None, header_style="bold")
    for heading in ("at (UTC)", "who", "did", "what", "why"):
        table.add_column(heading, overflow="fold")
    for entry in visible(entries, MAX_MESSAGE):
        what = entry.get("scope") or entry.get("budget") or " ".join(filter(None, map(entry.get, ("tenant", "tier"))))
        at = datetime.fromtimestamp(entry["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(*map(Text, (at, entry["who"], entry["did"], what, entry.get("why", ""))))
    console().print(table)


@kill_app.command()
def kill(
    context: typer.Context,
    words: Words,
    why: Annotated[str, typer.Option(help="Reason, shown to callers and in the audit log.")],
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="Unblock after 30s, 15m, 2h, 1d.")] = None,
    who: WhoOption = None,
    file: FileOption = None,
    store: StoreOption = None,
) -> None:
    """Block matching calls in all processes, within two seconds: `feature=copilot tenant=acme`."""
    _, opened = _open(context, file, store)
    try:
        kill_switch.kill(opened, _scope(words), for_=_seconds(for_) if for_ else None, why=why, who=who)
    except (RuleError, StoreDown) as error:
        fail(error)
    tell(f"Calls blocked. Undo with `genledger revive {' '.join(words)}`.")


@revive_app.command()
def revive(
    context: typer.Context,
    words: Words,
    why: Annotated[str, typer.Option(help="Reason, for the audit log.")] = "",
    who: WhoOption = None,
    file: FileOption = None,
    store: StoreOption = None,
) -> None:
    """Unblock calls: give the same keys as to `kill`."""
    _, opened = _open(context, file, store)
    try:
        kill_switch.revive(opened, _scope(words), why=why, who=who)
    except (RuleError, StoreDown) as error:
        fail(error)
    tell("Calls unblocked.")


def _open(context: typer.Context, file: str | None, store: str | None, *, show: bool = False) -> tuple[Rulebook, Store]:
    """Return the rules and the store.

    Mistakes in the rule file are errors if `show`, else warnings: stopping calls must work with an invalid file.
    """
    book = Rulebook()
    try:
        book = read_rules(os.path.expanduser(file)) if file else book
    except RuleFileError as error:
        if show:
            fail(*error.lines)
        warn(*error.lines)
        book, _ = rules_instead(error)
        if store is None and book.store is None:
            warn(f"the rule file names no store that can be read; {file_of()} is used; name another with --store")
    try:
        opened = open_store(store or book.store)
    except (ValueError, ModuleNotFoundError) as error:
        fail(error)
    if book.alerts:
        # Once the command is done: a process that ended too soon may have left some.
        context.call_on_close(lambda: _deliver(Alerts(opened, book.alerts, None)))
    return book, opened


def _deliver(alerts: Alerts) -> None:
    with suppress(StoreDown):
        alerts.deliver()


def _read(store: Store, book: Rulebook) -> tuple[list[BudgetStatus], Controls]:
    controls = Controls.read(store.document())
    now = store.now()
    controls.kills = [kill for kill in controls.kills if kill.until is None or now < kill.until]
    rules: dict[str, Rule] = {rule.name: rule for rule in (*book.rules, *controls.rules())}
    return read_status(store, list(rules.values())), controls


def _pairs(words: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key or not value:
            raise typer.BadParameter(f"{word!r} is not KEY=VALUE; write it like tenant=acme")
        pairs[key] = value
    return pairs


def _scope(words: Sequence[str]) -> dict[str, str]:
    pairs = _pairs(words)
    for key in pairs:
        if key not in FIELDS:
            raise typer.BadParameter(f"{key!r} is not a scope key; use one of {', '.join(FIELDS)}")
    return pairs


def _rule_fields(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of a `[[budget]]` table from words: `usd=50/day` is `usd = 50` and `per = "day"`."""
    fields: dict[str, Any] = {}
    degrade: dict[str, Any] = {}
    for key, value in pairs.items():
        if key in MEASURES:
            amount, separator, per = value.partition("/")
            fields[key] = _number(key, amount)
            if separator:
                fields["per"] = per
        elif key == "alert_at":
            fields[key] = [_number(key, percent) for percent in value.split(",")]
        elif key == "queue_seconds":
            fields[key] = _number(key, value)
        elif key == "degrade":
            degrade["model"] = value
        elif key == "max_output_tokens":
            degrade[key] = _number(key, value)
        else:
            fields[key] = value
    return fields | {"degrade": degrade} if degrade else fields


def _number(key: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise typer.BadParameter(f"{key}: expected a number, got {text!r}") from None
    return int(number) if number.is_integer() else number


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(\d+)([smhd])", text)
    if parts is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 30s, 15m, 2h or 1d", param_hint="--for")
    return int(parts[1]) * _SECONDS[parts[2]]


def _plain(kill: Kill) -> dict[str, Any]:
    return asdict(kill) | {"scope": kill.scope.patterns}


def _view(statuses: Sequence[BudgetStatus], controls: Controls) -> RenderableType:
    parts: list[RenderableType] = [_kill_line(kill) for kill in controls.kills]
    if not statuses:
        parts.append(Text("No budgets. Set one with `genledger budgets set tenant=acme usd=50/day`."))
        return Group(*parts)
    table = Table(box=None, header_style="bold")
    table.add_column("budget", overflow="fold")
    table.add_column("used", no_wrap=True)
    for heading in ("limit", "settled", "reserved", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("resets", no_wrap=True)
    bar = _BAR if console().width >= _WIDE else _BAR // 2
    for status in visible(statuses):
        name = Text.assemble(status.scope, ("\n" + status.rule, "dim"))
        limit = Text.assemble(_amount(status, status.limit, unit=True), ("\nper " + status.per, "dim"))
        shown = [Text(_amount(status, number)) for number in (status.settled, status.reserved, status.left)]
        resets = status.resets_at.strftime("%m-%d %H:%M") if status.resets_at is not None else "-"
        table.add_row(name, _bar(status, bar), limit, *shown, Text(resets))
    parts.append(table)
    return Group(*parts)


def _kill_line(kill: Kill) -> Text:
    until = "" if kill.until is None else f" until {datetime.fromtimestamp(kill.until, UTC):%m-%d %H:%M} UTC"
    return Text.assemble((shown(f"stopped: {kill.scope}"), "bold red"), message(f"{until}, by {kill.who}: {kill.why}"))


def _bar(status: BudgetStatus, width: int) -> Text:
    whole = status.limit or 1.0
    settled = min(width, round(width * status.settled / whole))
    reserved = min(width - settled, round(width * status.reserved / whole))
    color = "red" if status.used >= 0.8 else "yellow" if status.used >= 0.5 else "green"
    rest = width - settled - reserved
    return Text.assemble(("█" * settled, color), ("▒" * reserved, color), ("░" * rest, "dim"), f" {status.used:4.0%}")


def _amount(status: BudgetStatus, number: float, *, unit: bool = False) -> str:
    if status.measure == "usd":
        return money(number, digits_for(status.limit))
    return f"{count(int(number))} {status.measure}" if unit else count(int(number))
