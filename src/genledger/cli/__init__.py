"""The `genledger` command. Each sub-command is a separate module, imported on use; not for the list of all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from genledger.version import __version__


class Entry(NamedTuple):
    """A sub-command in the list of all.

    Attributes:
        location: Of its `typer.Typer`.
        summary: The first sentences of its own help.
    """

    location: str
    summary: str


COMMANDS = {
    "report": Entry("genledger.cli.report:app", "Show spend by feature, tenant, model or another dimension."),
    "query": Entry("genledger.cli.query:app", "Ask for any metric, by any field, over time."),
    "trace": Entry("genledger.cli.trace:app", "Show the calls of one trace as a tree, with the cost of each."),
    "prices": Entry("genledger.cli.prices:app", "Show, check and update prices; price unpriced calls."),
    "dashboard": Entry("genledger.cli.dashboard:app", "Show the dashboards in a browser, or write them to a file."),
    "dashboards": Entry(
        "genledger.cli.dashboards:app",
        "List dashboards, and write their files.",
    ),
    "doctor": Entry("genledger.cli.doctor:app", "Check the setup: libraries, destinations, configuration."),
    "budgets": Entry("genledger.cli.budgets:app", "Show every budget: limit, settled, reserved, left, reset."),
    "alerts": Entry("genledger.cli.alerts:app", "Evaluate alert rules, try them on the past, and snooze them."),
    "kill": Entry(
        "genledger.cli.budgets:kill_app",
        "Block matching calls in all processes, within two seconds.",
    ),
    "revive": Entry("genledger.cli.budgets:revive_app", "Unblock calls: give the same keys as to `kill`."),
}


_KIND_OF_ERROR = "Value error, "
"""What pydantic, which checks options, puts before the message of a validator."""


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """Escape the values that errors about options quote, and leave out that they are errors about values."""
    try:
        yield
    except Exception as error:
        if isinstance(said := getattr(error, "message", None), str):
            from genledger.shared.text import message

            error.message = message(said.removeprefix(_KIND_OF_ERROR))  # type: ignore[attr-defined]
        raise


def load(name: str) -> Any:
    """Import a sub-command, or exit with what is missing."""
    module, _, attribute = COMMANDS[name].location.partition(":")
    try:
        app = getattr(import_module(module), attribute)
    except ImportError as error:
        typer.echo(
            f"error: `genledger {name}` cannot be loaded: {error}; install or upgrade the package that has it", err=True
        )
        raise typer.Exit(1) from error
    command = typer.main.get_command(app)
    command.name = name
    return command


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load(name), rest

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _errors_on_one_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _errors_on_one_line():
            return super().invoke(ctx)


app = typer.Typer(
    name="genledger",
    cls=_Commands,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # as `apps.new_app`, which is imported on use
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"genledger {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Report the spend of GenAI calls, set prices and budgets, and check the setup."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line."""
    app(prog_name="genledger")
