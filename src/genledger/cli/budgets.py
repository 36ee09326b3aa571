"""`genledger budgets`, `genledger kill` and `genledger revive`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console, Group, RenderableType
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
from genledger.cli.apps import new_app
from genledger.cli.output import JsonOption, console, count, digits_for, fail, money, print_json, tell, warn
from genledger.cli.tables import add_numbers, fitting, new_table
from genledger.shared.text import MAX_MESSAGE, as_json, message, shown, visible

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

app = new_app(invoke_without_command=True)
kill_app = new_app()
revive_app = new_app()


@app.callback()
def budgets(
    context: typer.Context,
    file: FileOption = None,
    store: StoreOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second.")] = False,
    json: JsonOption = False,
) -> None:
    """Show every budget: limit, settled, reserved, left, reset."""
    book, opened = _open(context, file, store, show=context.invoked_subcommand is None)
    context.obj = opened
    if context.invoked_subcommand is not None:
        return
    to = console()
    try:
        if json:
            statuses, controls = _read(opened, book)
            print_json({"budgets": statuses, "kills": [_plain(kill) for kill in controls.kills]})
        elif watch:
            with suppress(KeyboardInterrupt), _shown_in_place(to) as show:
                while True:
                    show(_view(to, *_read(opened, book)))
                    time.sleep(1)
        else:
            to.print(_view(to, *_read(opened, book)))
    except StoreDown as error:
        fail(error)


@app.command("set")
def set_(
    context: typer.Context,
    words: Words,
    for_: Annotated[str | None, typer.Option("--for", metavar="TIME", help="Remove after 30s, 15m, 2h, 1d.")] = None,
    why: Annotated[str, typer.Option(help="Reason, for the audit log.")] = "",
    who: WhoOption = None,
) -> None:
    """Set a budget or a tenant's tier, for all processes.

    A budget has the keys of a `[[budget]]` table: `tenant=acme usd=50/day`. A tier is `tenant=acme tier=pro`.
    """
    fields = pairs_of(words)
    try:
        if set(fields) == {"tenant", "tier"}:
            if for_ or why:
                raise typer.BadParameter("a tier has no end and no reason; leave out --for and --why")
            kill_switch.set_tier(context.obj, fields["tenant"], fields["tier"], who=who)
            tell(f"Set tier {fields['tier']} for {fields['tenant']}.")
        else:
            lasts = duration(for_) if for_ else None
            rule = kill_switch.set_budget(context.obj, _rule_fields(fields), for_=lasts, why=why, who=who)
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
    """Show the audit log: who changed what, and why."""
    try:
        entries = Controls.read(context.obj.document()).log
    except StoreDown as error:
        fail(error)
    if json:
        print_json(entries)
        return
    table = new_table("at (UTC)", "who", "did", "what", "why")
    for entry in visible(entries, MAX_MESSAGE):
        table.add_row(
            *map(Text, (_moment(entry["at"]), entry["who"], entry["did"], _what(entry), entry.get("why", "")))
        )
    console().print(table)


def _what(entry: Mapping[str, Any]) -> str:
    """Return what an entry of the audit log changed: from what, and to what."""
    subject = entry.get("scope") or entry.get("budget") or entry.get("tenant") or ""
    to = entry.get("to") or entry.get("tier")
    until, was = entry.get("until"), entry.get("was")
    return "".join(
        (
            subject,
            f": {_words(to)}" if to else "",
            f" until {_moment(until)}" if until else "",
            f" (was {_words(was)})" if was else "",
        )
    )


def _words(value: Mapping[str, Any] | str) -> str:
    """Return the keys of a budget as `set` takes them, or a tier as it is."""
    if isinstance(value, str):
        return value
    return " ".join(f"{key}={part if isinstance(part, str) else as_json(part)}" for key, part in value.items())


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


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
    """Block matching calls in all processes, within two seconds.

    For example: `genledger kill feature=copilot tenant=acme --why "loops since the release"`.
    """
    _, opened = _open(context, file, store)
    try:
        kill_switch.kill(opened, _scope(words), for_=duration(for_) if for_ else None, why=why, who=who)
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


@contextmanager
def _shown_in_place(to: Console) -> Iterator[Callable[[RenderableType], None]]:
    """Return what shows a view in the place of the one before; in a pipe, below it."""
    if not to.is_terminal:
        yield to.print
        return
    with Live(console=to, auto_refresh=False) as live:
        yield lambda view: live.update(view, refresh=True)


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
    controls.forget_ended(now)
    controls.kills = [kill for kill in controls.kills if kill.until is None or now < kill.until]
    rules: dict[str, Rule] = {rule.name: rule for rule in (*book.rules, *controls.rules())}
    return read_status(store, list(rules.values())), controls


def standing_budgets(context: typer.Context, file: str, store: str | None) -> Callable[[], list[BudgetStatus]]:
    """Return what tells how the budgets of a rule file stand; it raises `StoreDown` when the store does not answer."""
    book, opened = _open(context, file, store)
    return lambda: _read(opened, book)[0]


def pairs_of(words: Sequence[str]) -> dict[str, str]:
    """Return the keys and values of `KEY=VALUE` words.

    Raises:
        typer.BadParameter: A word is none, or a key is given twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key or not value:
            raise typer.BadParameter(f"{word!r} is not KEY=VALUE; write it like tenant=acme")
        if key in pairs:
            raise typer.BadParameter(f"{key!r} is given twice: {pairs[key]!r} and {value!r}; give it once")
        pairs[key] = value
    return pairs


def _scope(words: Sequence[str]) -> dict[str, str]:
    pairs = pairs_of(words)
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


def duration(text: str) -> float:
    """Return the seconds of `30s`, `15m`, `2h` or `1d`.

    Raises:
        typer.BadParameter: It is none of these.
    """
    parts = re.fullmatch(r"(\d+)([smhd])", text)
    if parts is None:
        raise typer.BadParameter(f"{text!r} is not a duration; write it like 30s, 15m, 2h or 1d", param_hint="--for")
    return int(parts[1]) * _SECONDS[parts[2]]


def _plain(kill: Kill) -> dict[str, Any]:
    return asdict(kill) | {"scope": kill.scope.patterns}


class _Layout(NamedTuple):
    """A layout of the table. `bar` is the bar's width; `stacked` cells have two lines."""

    stacked: bool
    bar: int
    left_out: frozenset[str] = frozenset()


_LAYOUTS = (
    _Layout(stacked=False, bar=20),
    _Layout(stacked=True, bar=20),
    _Layout(stacked=True, bar=10),
    _Layout(stacked=True, bar=0),
    _Layout(stacked=True, bar=0, left_out=frozenset({"reserved"})),
    _Layout(stacked=True, bar=0, left_out=frozenset({"reserved", "settled"})),
)
"""Widest first."""


def _view(to: Console, statuses: Sequence[BudgetStatus], controls: Controls) -> RenderableType:
    parts: list[RenderableType] = [_kill_line(kill) for kill in controls.kills]
    if statuses:
        statuses = visible(statuses)
        # The bars are drawn with block characters, which not every encoding has.
        layouts = [each._replace(bar=0) for each in _LAYOUTS] if to.options.ascii_only else _LAYOUTS
        parts.append(fitting(to, lambda layout: _table(statuses, layout), layouts))
    else:
        parts.append(Text("No budgets. Set one with `genledger budgets set tenant=acme usd=50/day`."))
    return Group(*parts)


def _table(statuses: Sequence[BudgetStatus], layout: _Layout) -> Table:
    between = "\n" if layout.stacked else " "
    names: dict[str, Callable[[BudgetStatus], Text]] = (
        {"budget": lambda status: Text.assemble(status.scope, between, (status.rule, "dim"))}
        if layout.stacked
        else {"budget": lambda status: Text(status.rule), "scope": lambda status: Text(status.scope)}
    )
    numbers: dict[str, Callable[[BudgetStatus], Text]] = {
        "used": lambda status: _used(status, layout.bar),
        "limit": lambda status: Text.assemble(
            _amount(status, status.limit, unit=True), between, (f"per {status.per}", "dim")
        ),
        "settled": lambda status: Text(_amount(status, status.settled)),
        "reserved": lambda status: Text(_amount(status, status.reserved)),
        "left": lambda status: Text(_amount(status, status.left)),
        "resets": lambda status: Text("-" if status.resets_at is None else f"{status.resets_at:%m-%d %H:%M}"),
    }
    numbers = {heading: cell for heading, cell in numbers.items() if heading not in layout.left_out}
    table = new_table(*names)
    for heading in numbers:
        add_numbers(table, heading)
    for status in statuses:
        table.add_row(*(cell(status) for cell in (*names.values(), *numbers.values())))
    return table


def _kill_line(kill: Kill) -> Text:
    until = "" if kill.until is None else f" until {datetime.fromtimestamp(kill.until, UTC):%m-%d %H:%M} UTC"
    return Text.assemble((shown(f"stopped: {kill.scope}"), "bold red"), message(f"{until}, by {kill.who}: {kill.why}"))


def _used(status: BudgetStatus, width: int) -> Text:
    whole = status.limit or 1.0
    settled = min(width, round(width * status.settled / whole))
    reserved = min(width - settled, round(width * status.reserved / whole))
    color = "red" if status.used >= 0.8 else "yellow" if status.used >= 0.5 else "green"
    rest = width - settled - reserved
    return Text.assemble(("█" * settled, color), ("▒" * reserved, color), ("░" * rest, "dim"), f"{status.used:5.0%}")


def _amount(status: BudgetStatus, number: float, *, unit: bool = False) -> str:
    if status.measure == "usd":
        return money(number, digits_for(status.limit))
    return f"{count(int(number))} {status.measure}" if unit else count(int(number))
