"""The ledger that a command reads, and what to do when it is missing or empty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genledger.cli.output import fail
from genledger.ledger import default_path

LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="PATH",
        help="Ledger file (default: GENLEDGER_LEDGER, else the user's own).",
        show_default=False,
    ),
]


def existing_ledger(given: Path | None) -> Path:
    """Return the file that the option names, else the default one. Exit with an error if it is missing."""
    path = given or default_path()
    if not path.exists():
        advice = "Check the path after --ledger." if given is not None else _advice()
        fail(f"there is no ledger at {path}. {advice}")
    return path


def no_calls_in(path: Path) -> str:
    """Return the message for a ledger without calls."""
    return f"The ledger {path} has no calls yet. {_advice()}"


def _advice() -> str:
    from genledger.doctor import wanted_destinations

    wanted = wanted_destinations()
    if "ledger" not in wanted:
        where = f"to {', '.join(wanted)} only" if wanted else "nowhere"
        everywhere = ",".join([*wanted, "ledger"])
        return (
            f"With the environment of this command, calls go {where}. Set GENLEDGER_DESTINATIONS={everywhere} "
            "to write them to the ledger, too."
        )
    return (
        "Run your application under `opentelemetry-instrument`, or call `genledger.instrument()` in it. "
        "Run `genledger doctor` to check the setup."
    )
