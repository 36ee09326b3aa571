"""`genledger` itself: the version and the list of commands, which need no command to be imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner, Result

from genledger.cli import COMMANDS, app

LIGHT = {
    "genledger",
    "genledger.cli",
    "genledger.shared",
    "genledger.shared.fork_warning",
    "genledger.shared.lazy",
    "genledger.version",
}
"""All of ours that the version and the list of commands import."""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"}, prog_name="genledger")


def run_alone(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which then prints the modules that it has imported."""
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
sys.argv = ["genledger", *{arguments!r}]
{before}
from genledger.cli import main
try:
    main()
finally:
    print("imported:", *sys.modules)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_version_and_the_list_of_commands_import_nothing_that_a_command_needs(option: str) -> None:
    output, _, imported = run_alone(option).stdout.partition("imported:")
    assert "genledger" in output
    modules = set(imported.split())
    assert {module for module in modules if module.partition(".")[0].startswith("genledger")} == LIGHT
    assert not modules & {"opentelemetry", "genai_prices", "sqlite3", "orjson", "wrapt", "asyncio"}


def test_the_version_is_printed() -> None:
    assert run("--version").stdout.startswith("genledger ")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_list_describes_a_command_as_its_own_help_does(command: str) -> None:
    def words(text: str) -> str:
        return " ".join(text.split())

    assert words(COMMANDS[command].summary) in words(run(command, "--help").stdout)
    assert words(f"{command} {COMMANDS[command].summary}") in words(run("--help").stdout)


def test_a_command_that_cannot_be_imported_says_in_one_line_what_is_missing() -> None:
    done = run_alone("report", before="sys.modules['orjson'] = None")
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert done.returncode == 1
    assert line.startswith("error: `genledger report` cannot be loaded: ")
    assert "orjson" in line
    assert "install" in line
