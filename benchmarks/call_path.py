"""How much of Genledger one call runs through on the caller's thread: files, functions, Python calls.

    python -m benchmarks.call_path [--case chat]

An OpenAI call in an attribution block, with one USD budget in memory, and the ledger, OTLP and Langfuse as
destinations; everything else is the default. The fourth call is followed with `sys.setprofile`: the first ones import,
resolve a price and take a lease. Bars, for a chat call: 25 files and 90 functions. Exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.table import Table

from .traffic import CASES, Clients, prepare

BAR_FILES = 25
BAR_FUNCTIONS = 90
WARM_UP = 3


class Followed:
    """The functions of Genledger that one call ran through, how often each, and how deep inside each other.

    Attributes:
        calls: How often each function was called, by its file and its name.
        depth: The most functions of Genledger that were running inside each other.
    """

    def __init__(self) -> None:
        import genledger
        import genledger_instrumentors
        import genledger_semconv

        packages = (genledger, genledger_instrumentors, genledger_semconv)
        self._roots = tuple(f"{Path(package.__file__ or '').parent}{os.sep}" for package in packages)
        self.calls: Counter[tuple[str, str]] = Counter()
        self.depth = 0
        self._running = 0

    def of(self, call: Callable[[], object]) -> Followed:
        """Follow one call."""
        gc.disable()
        sys.setprofile(self._event)
        try:
            call()
        finally:
            sys.setprofile(None)
            gc.enable()
        return self

    def _event(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        root = next((root for root in self._roots if code.co_filename.startswith(root)), None)
        if root is None:
            return
        if event == "call":
            file = code.co_filename.removeprefix(f"{Path(root).parent}{os.sep}")
            self.calls[file, code.co_qualname] += 1
            self._running += 1
            self.depth = max(self.depth, self._running)
        elif event == "return":
            self._running -= 1

    @property
    def files(self) -> list[str]:
        """The files, those with the most functions first."""
        return [file for file, _ in Counter(file for file, _ in self.calls).most_common()]

    def functions(self, file: str) -> list[tuple[str, int]]:
        """The functions of one file in the order they were first called, and how often they were."""
        return [(name, calls) for (where, name), calls in self.calls.items() if where == file]


def follow(case: str) -> Followed:
    """Make calls until everything is warm, and follow one more."""
    from tests.standins.receivers import Collector, Langfuse

    import genledger
    from genledger.budgets import budget

    langfuse = Langfuse()
    with Collector() as collector, langfuse, tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.base_url,
            "LANGFUSE_BASE_URL": langfuse.base_url,
            "LANGFUSE_PUBLIC_KEY": langfuse.public_key,
            "LANGFUSE_SECRET_KEY": langfuse.secret_key,
            "GENLEDGER_SPOOL": "off",
            "GENLEDGER_LEDGER": f"{folder}/ledger.db",
        }
        logging.disable(logging.CRITICAL)
        genledger.instrument(
            destinations=["ledger", "otlp", "langfuse"],
            budgets=[budget(tenant="each", usd=1_000_000, per="day")],
            budget_store="memory:",
        )
        once = prepare(case, Clients())

        def attributed() -> None:
            with genledger.attribution(tenant="acme", feature="copilot"):
                once()

        try:
            for _ in range(WARM_UP):
                attributed()
            return Followed().of(attributed)
        finally:
            genledger.shutdown()


def show(case: str, followed: Followed) -> None:
    """Print the functions by file, and the sums."""
    console = Console()
    table = Table("file", "function", "calls", title=f"Genledger on the caller's thread: {CASES[case].title}")
    table.columns[2].justify = "right"
    for file in followed.files:
        functions = followed.functions(file)
        table.add_row(f"[bold]{file}[/]", f"[bold]{len(functions)}[/]", f"[bold]{sum(n for _, n in functions)}[/]")
        for name, calls in functions:
            table.add_row("", name, str(calls))
    console.print(table)
    console.print(
        f"{len(followed.files)} files (bar: {BAR_FILES}), {len(followed.calls)} functions (bar: {BAR_FUNCTIONS}), "
        f"{followed.calls.total()} calls, {followed.depth} deep"
    )


def main() -> None:
    """Follow a call and print what it ran through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=list(CASES), default="chat")
    case = parser.parse_args().case
    followed = follow(case)
    show(case, followed)
    missed = len(followed.files) > BAR_FILES or len(followed.calls) > BAR_FUNCTIONS
    sys.exit(1 if case == "chat" and missed else 0)


if __name__ == "__main__":
    main()
