"""Shared output of the sub-commands: consoles, and the format of money, counts and times."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from genledger.shared.text import as_json, message

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

UNLIMITED = 1_000_000
"""Width of a console that folds nothing."""

_MOST_DIGITS = 12


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


def time_text(ns: int) -> str:
    """Format a time in UTC, to the minute."""
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")


def digits_for(usd: float | None) -> int:
    """Return the number of decimals for a column of money with the largest value `usd`."""
    if usd is None or usd < 0.1:
        return 6
    return 4 if usd < 10 else 2


def money(usd: float | None, digits: int) -> str:
    """Format an amount in USD. A nonzero amount never shows as zero; an unknown one is a dash."""
    if usd is None:
        return "-"
    if 0 < usd < 10**-digits:
        digits = min(-math.floor(math.log10(usd)), _MOST_DIGITS)
        usd = max(usd, 10**-_MOST_DIGITS)
    return f"${usd:,.{digits}f}"


def count(number: int) -> str:
    """Format a count in at most seven characters: `12,345`, `123.5k`, `1.2M`."""
    if number < 100_000:
        return f"{number:,}"
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= 0.99995 * size:  # one less would be rounded to `1000.0k`
            return f"{number / size:,.1f}{unit}"
    return f"{number / 1000:.1f}k"


def seconds(duration: float | None) -> str:
    """Format a duration in seconds; an unknown one is a dash."""
    return "-" if duration is None else f"{duration:.2f} s"


def number_of(number: int, thing: str, plural: str | None = None) -> str:
    """Format a count with its noun: `1 call`, `2 calls`."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"
