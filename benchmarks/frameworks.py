"""`python -m benchmarks.frameworks`: what the structure of a framework's run costs, beside spans written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import Contender
from benchmarks.counting import Count, count
from benchmarks.environments import Environment
from benchmarks.framework_runs import CONTENDERS_OF_FRAMEWORKS, FRAMEWORKS

SETTING = "content off"
"""What is measured: the default, content off and metrics on."""

LIMIT = 1.5
"""Instructions on the caller's thread that Genledger may add, relative to the spans written by hand."""


def measure(case: str, runs: int) -> dict[str, Count]:
    """Count the case for every contender, each in an environment of its own, which is made if it is missing."""
    counted: dict[str, Count] = {}
    for one in CONTENDERS_OF_FRAMEWORKS:
        suffix = f"-{one.key}" if one.key in ("genledger", "openinference") else ""
        environment = f"{case}{suffix}"
        Environment(environment).make()
        counted[one.title] = _count(replace(one, environment=environment), case, runs)
    return counted


def _count(one: Contender, case: str, runs: int) -> Count:
    ((_, counted),) = count(one, SETTING, [case], runs, program="benchmarks.framework_runs")
    return counted


def table(case: str, counted: dict[str, Count]) -> Table:
    """Return what each adds to the run with nothing, in millions of instructions."""
    nothing, by_hand, *_ = counted.values()
    shown = Table(title=f"{FRAMEWORKS[case].title}: {nothing.caller:.1f} million instructions with nothing")
    for column in ("", "added, millions", "relative to by hand", "spread", "other threads", "spans"):
        shown.add_column(column, justify="left" if not column else "right")
    for title, one in list(counted.items())[1:]:
        added = one.caller - nothing.caller
        ratio = added / (by_hand.caller - nothing.caller)
        others = one.others - nothing.others
        shown.add_row(title, f"{added:.2f}", f"{ratio:.2f}", f"{one.spread:.2f}", f"{others:.2f}", f"{one.spans:.0f}")
    return shown


def main(
    case: Annotated[list[str] | None, typer.Option(help=f"Only these: {', '.join(FRAMEWORKS)}.")] = None,
    runs: Annotated[int, typer.Option(help="Runs that are counted, in three blocks.")] = 60,
) -> None:
    """Count what Genledger, spans written by hand and OpenInference add to a framework's run (needs valgrind)."""
    console = Console(width=120)
    for key in case or FRAMEWORKS:
        counted = measure(key, runs)
        console.print(table(key, counted))
        nothing, by_hand, ours, theirs = (one.caller for one in counted.values())
        holds = ours - nothing <= LIMIT * (by_hand - nothing) and ours < theirs
        console.print(f"At most {LIMIT} times the spans written by hand, and less than OpenInference: {holds}")


if __name__ == "__main__":
    typer.run(main)
