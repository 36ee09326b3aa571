"""What a chat call takes while a backend is well, refuses, hangs, or answers 500.

    python -m benchmarks.faulty_backends [--calls 500] [--rounds 5]

Every round makes the same paced calls in a process of its own for each state of the backend, one after the other;
the backend is a receiver in a further process. Printed are the median over the rounds of each round's median and
99th percentile, and how far apart the rounds of one state are, which is the noise to hold the differences against.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

STATES = ("well", "refuses", "hangs", "answers 500")
PAUSE_S = 0.002
"""Between two calls: an application that waits for its provider, not one that only records."""


def receive(state: str, pipe: Connection) -> None:
    """Run a receiver in this state until told to stop."""
    from tests.standins.faults import Hang, Status
    from tests.standins.receivers import Collector

    with Collector() as collector:
        collector.always({"hangs": Hang(), "answers 500": Status(status=500)}.get(state))
        pipe.send(collector.base_url)
        pipe.recv()


def call(url: str, calls: int, pipe: Connection) -> None:
    """Make the calls, and tell how many seconds each took."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "GENLEDGER_SPOOL": folder,
            "GENLEDGER_LEDGER": f"{folder}/ledger.db",
        }
        import logging

        import genledger

        from .traffic import Clients, prepare

        logging.disable(logging.CRITICAL)
        genledger.instrument(destinations=["otlp"], capture_content=True)
        once = prepare("chat", Clients())
        for _ in range(100):
            once()
        took = []
        for _ in range(calls):
            time.sleep(PAUSE_S)
            began = time.perf_counter()
            once()
            took.append(time.perf_counter() - began)
        pipe.send(took)
        pipe.close()
        os._exit(0)


def measure(state: str, calls: int) -> list[float]:
    """The seconds of each call while the backend is in this state."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    backend = context.Process(target=receive, args=(state, there), daemon=True)
    backend.start()
    url = here.recv()
    if state == "refuses":
        here.send(None)
        backend.join()
    results, results_end = context.Pipe(duplex=False)
    application = context.Process(target=call, args=(url, calls, results_end), daemon=True)
    application.start()
    results_end.close()
    took: list[float] = results.recv()
    application.join()
    if backend.is_alive():
        backend.terminate()
        backend.join()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every state")
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {state: [] for state in STATES}
    for _ in track(range(options.rounds), "rounds"):
        for state in STATES:
            found[state].append(measure(state, options.calls))
    table = Table(title=f"A chat call, in microseconds: {options.rounds} rounds of {options.calls}")
    for column in ("the backend", "median", "rounds", "99th percentile", "rounds "):
        table.add_column(column, justify="left" if column == "the backend" else "right")
    for state, rounds in found.items():
        table.add_row(
            state, *_row([statistics.median(took) for took in rounds]), *_row([_high(took) for took in rounds])
        )
    Console().print(table)


def _high(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def _row(figures: list[float]) -> tuple[Any, str]:
    return f"{statistics.median(figures) * 1e6:,.0f}", f"{min(figures) * 1e6:,.0f} … {max(figures) * 1e6:,.0f}"


if __name__ == "__main__":
    main()
