"""The `genledger` command. Each sub-command is a separate module, imported on use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperGroup

from genledger.shared.text import message
from genledger.version import __version__

COMMANDS = {
    "report": "genledger.cli.report:app",
    "trace": "genledger.cli.trace:app",
    "prices": "genledger.cli.prices:app",
    "doctor": "genledger.cli.doctor:app",
    "budgets": "genledger.cli.budgets:app",
    "kill": "genledger.cli.budgets:kill_app",
    "revive": "genledger.cli.budgets:revive_app",
}
"""Location of the `typer.Typer` of each sub-command."""


@contextmanager
def _errors_on_one_line() -> Iterator[None]:
    """Escape the values that errors about options quote."""
    try:
        yield
    except Exception as error:
        if isinstance(said := getattr(error, "message", None), str):
            error.message = message(said)  # type: ignore[attr-defined]
        raise


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = typer.main.get_command(getattr(import_module(module), name))
        command.name = cmd_name
        return command

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
