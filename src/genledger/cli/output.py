"""Shared output of the sub-commands: consoles, errors, JSON and points in time; figures are from `shared.figures`."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
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

_FAR_NS = 2**63 - 1
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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


def moment(text: str, option: str, now: datetime) -> datetime | None:
    """Read a point in time: `7d` ago (also `s`, `m`, `h`, `w`), an ISO date or time, or `all` for no limit.

    Times without a zone are UTC.

    Raises:
        typer.BadParameter: It is none of these; the message names `option`.
    """
    if text == "all":
        return None
    try:
        ago = re.fullmatch(r"(\d+)([smhdw])", text)
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a duration such as 7d, 24h or 30m, nor a date such as 2026-11-01 "
            "or 2026-11-01T12:00, nor 'all'",
            param_hint=option,
        ) from None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def epoch_ns(when: datetime | None) -> int | None:
    """Return nanoseconds since the epoch, within the range of SQLite's integers (the years 1677 to 2262)."""
    if when is None:
        return None
    return max(-_FAR_NS, min(int(when.timestamp() * 1_000_000) * 1_000, _FAR_NS))
