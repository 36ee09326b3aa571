"""Shared output of the sub-commands: consoles, errors, JSON and points in time; figures are from `shared.figures`."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from genledger.shared.figures import count as count
from genledger.shared.figures import digits_for as digits_for
from genledger.shared.figures import money as money
from genledger.shared.figures import number_of as number_of
from genledger.shared.figures import seconds as seconds
from genledger.shared.figures import time_text as time_text
from genledger.shared.text import as_json, message

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

UNLIMITED = 1_000_000
"""Width of a console that folds nothing."""


def console(*, stderr: bool = False) -> Console:
    """Return a console as wide as the terminal or `COLUMNS`, without markup. Pass it only `visible` records.

    In a pipe or a file, lines are as long as what they show.
    """
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # for names that the terminal's encoding lacks
    width = None if stream.isatty() or os.environ.get("COLUMNS") else UNLIMITED
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def print_json(value: Any) -> None:
    """Print dataclasses, mappings and lists as indented JSON."""
    text = as_json(value, indent=True) + "\n"
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.write(json.dumps(json.loads(text), indent=2) + "\n")


def fail(*reasons: object) -> NoReturn:
    """Print the errors, one per line, and exit with 1."""
    _complain("error: ", *reasons)
    raise typer.Exit(1)


def warn(*reasons: object) -> None:
    """Print warnings, one per line."""
    _complain("warning: ", *reasons)


def _complain(kind: str, *reasons: object) -> None:
    for reason in reasons:
        console(stderr=True).print(Text.assemble((kind, "red"), message(reason)), soft_wrap=True)


def tell(what: str) -> None:
    """Print one message on one line. Put commands in backquotes."""
    console().print(message(what), soft_wrap=True)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts to files by their paths below a folder, which is made. Exit with an error if that cannot be done."""
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"--dir: {error}; name a folder that can be written to")
