"""`python -m benchmarks.page`: make a ledger of a million calls, and print the time of each panel of the local page."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.ledger_month import make_ledger
from genledger.dashboards.local_page.answers import answer
from genledger.dashboards.local_page.boards import boards
from genledger.dashboards.local_page.ledger_source import Readers, roll_up
from genledger.dashboards.local_page.view import Span, View
from genledger.dashboards.panels import Panel
from genledger.ledger.fields import FIELDS, METRICS

T = TypeVar("T")

LIMIT_MS = 2_000


def main(
    calls: Annotated[int, typer.Option(min=1, help="Calls in 30 days.")] = 1_000_000,
    period: Annotated[str, typer.Option(help="Period that every dashboard shows; empty for its own.")] = "",
    ledger: Annotated[Path | None, typer.Option(help="Ledger to measure with; made when missing.")] = None,
) -> None:
    """Print the milliseconds of each panel, the median of three."""
    with tempfile.TemporaryDirectory() as folder:
        path = ledger or Path(folder) / "ledger.db"
        if not path.exists():
            print(f"making a ledger of {calls:,} calls")
            make_ledger(path, calls).close()
        _, rolled = timed(lambda: roll_up(path))
        print(f"hours added up in {rolled / 1000:.1f} s")
        measure(path, period)


def measure(path: Path, period: str) -> None:
    """Measure every panel of every dashboard."""
    readers = Readers(path)
    readers.check()
    table = Table("dashboard", "panel", "period", "from", "ms", box=None)
    slow = 0
    for board in boards(budgets=False):
        span = View(since=period).span(board.period, datetime.now(UTC))
        for panel in board.panels:

            def show(panel: Panel = panel, span: Span = span) -> None:
                answer(panel, (), span, "Europe/Berlin", readers.ask)

            took = sorted(timed(show)[1] for _ in range(3))[1]
            rolled = is_rolled(panel)
            slow += rolled and took > LIMIT_MS
            table.add_row(
                board.name, panel.title, period or board.period, "rollups" if rolled else "calls", f"{took:,.0f}"
            )
    Console(width=120).print(table)
    print(f"{slow} panels on the rollups take longer than {LIMIT_MS:,} ms")


def is_rolled(panel: Panel) -> bool:
    """Whether the rollups have all that a panel asks for."""
    fields = {*panel.by, *(condition.field for condition in panel.where)}
    kept = all(name == "outcome_name" or FIELDS[name].rolled for name in fields)
    return kept and all(METRICS[name].expression or METRICS[name].of != "calls" for name in panel.metrics)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return what some work returns, and its milliseconds."""
    began = time.perf_counter()
    done = work()
    return done, (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    typer.run(main)
