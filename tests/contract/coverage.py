"""The table of what the contract suite found: `docs/coverage.md`, of which nothing is written by hand.

As a pytest plugin, it writes down what each promise's test came to for each client (`--coverage-results FILE`).
As a program, it makes the page of such files, one for each environment.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

YES, NO, NONE = "✓", "✗", "–"

PROMISES = {
    "sync": "test_a_whole_answer_is_one_priced_span",
    "async": "test_a_whole_answer_is_one_priced_span",
    "stream": "test_a_streamed_answer_is_one_priced_span",
    "usage and cost": "test_a_whole_answer_is_one_priced_span",
    "content": "test_content_is_recorded_when_asked_for",
    "attempts": "test_a_retried_call_is_one_span_with_its_attempts",
    "refuses": "test_a_budget_refuses_before_anything_is_sent",
    "degrades": "test_a_degraded_call_is_sent_and_priced_as_degraded",
}
STORE_PROMISES = {
    "sync": "test_a_search_is_one_span_with_what_was_found",
    "async": "test_a_search_is_one_span_with_what_was_found",
    "search": "test_a_search_is_one_span_with_what_was_found",
    "scores": "test_a_search_says_how_near_its_results_are",
    "filter": "test_a_filter_is_noted_and_its_text_is_not",
    "write": "test_a_write_is_one_span_with_how_much_is_written",
    "documents": "test_documents_are_recorded_when_asked_for",
}

INTRODUCTION = """\
# What is covered

The contract suite holds every client to the same promises, over the real library against a server on loopback. \
This page is what it found: `make test-contract` finds it, and `make coverage` writes it down.

✓: the test passed with every version that is listed. ✗: it failed with one of them. –: the client or the operation \
has no such thing.
"""


class Found(NamedTuple):
    """What one test came to.

    Args:
        library: The library's name for users.
        operation: The operation's name.
        asynchronous: Whether its asynchronous client was tested.
        version: The version that was tested.
        store: Whether it is a vector store.
        test: The name of the test's function.
        outcome: `passed`, `failed` or `skipped`.
    """

    library: str
    operation: str
    asynchronous: bool
    version: str
    store: bool
    test: str
    outcome: str


class Results:
    """Gathers what the tests came to, from wherever they ran."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[Found] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that ended."""
        properties = dict(report.user_properties)
        if "library" in properties and (report.when == "call" or report.outcome != "passed"):
            name = report.nodeid.split("::")[-1].partition("[")[0]
            given: dict[str, Any] = properties
            self._found.append(Found(**given, test=name, outcome=report.outcome))

    def pytest_sessionfinish(self) -> None:
        """Write down what was found."""
        self._path.write_text(json.dumps([found._asdict() for found in self._found], indent=1))


def mark(outcomes: Iterable[str]) -> str:
    """Return one sign for what a test came to, in all versions and ways."""
    ran = set(outcomes) - {"skipped"}
    return NO if "failed" in ran else YES if ran else NONE


def in_order(version: str) -> list[int]:
    """Return what versions are sorted by."""
    return [int(number) for number in re.findall(r"\d+", version)]


def table(found: list[Found], promises: dict[str, str]) -> list[str]:
    """Return a table: a line for each library and operation."""
    lines = ["| library | operation | " + " | ".join(promises) + " | versions |", "|---" * (len(promises) + 3) + "|"]
    for library, operation in sorted({(one.library, one.operation) for one in found}):
        rows = [one for one in found if (one.library, one.operation) == (library, operation)]
        cells = []
        for column, test in promises.items():
            ways = {"sync": [False], "async": [True]}.get(column, [False, True])
            cells.append(mark(one.outcome for one in rows if one.test == test and one.asynchronous in ways))
        versions = sorted({one.version for one in rows}, key=in_order)
        lines.append(f"| {library} | {operation} | {' | '.join(cells)} | {', '.join(versions)} |")
    return lines


def page(found: list[Found]) -> str:
    """Return the page."""
    clients = [one for one in found if not one.store]
    stores = [one for one in found if one.store]
    parts = [INTRODUCTION, "## Models", "", *table(clients, PROMISES), "", "## Vector stores", ""]
    return "\n".join([*parts, *table(stores, STORE_PROMISES), ""])


if __name__ == "__main__":
    files = [Path(name) for name in sys.argv[1:]]
    print(page([Found(**one) for file in files for one in json.loads(file.read_text())]), end="")
