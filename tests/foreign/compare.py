"""Run the clients' own test suites without Genledger and with it, and print where they differ.

`make test-foreign` runs it in an environment that has the clients and what their tests need. Arguments are names of
clients; without one, all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SOURCES = Path(sys.prefix) / "sources"

SUITES = {
    "openai": ("tests",),
    "anthropic": ("tests",),
    "groq": ("tests",),
    "together": ("tests",),
    "mistralai": ("src/mistralai/extra/tests",),
    "langchain-core": ("tests/unit_tests",),
}
"""What pytest is given, by the client's distribution."""


EXPECTED: dict[str, tuple[str, ...]] = {
    # The call's span is current while the request is sent: it is the parent of the HTTP client's.
    "mistralai": ("test_app_otel_does_not_enable_mistral_span_without_mistral_telemetry",),
    "anthropic": (
        # The call's span is current while the request is sent.
        "test_false_keeps_a_span_that_the_sampler_dropped_current_for_the_requests",
        # Genledger's span needs OpenTelemetry, whatever the client's own setting. The second is what Genledger logs.
        "test_disabled_spans_call_nothing_of_opentelemetry",
        "`opentelemetry.trace.get_current_span` was called",
    ),
}
"""Parts of lines about differences that any instrumentation around the call makes, by client."""


class Run(NamedTuple):
    """How one run of a suite ended.

    Attributes:
        outcomes: `passed`, `failed` or `skipped`, and the reason, by test.
        warnings: The categories and messages of warnings, without what varies from run to run.
    """

    outcomes: dict[str, tuple[str, str]]
    warnings: set[tuple[str, str]]

    def ended(self, test: str) -> tuple[str, str]:
        """Return how a test ended, and why."""
        return self.outcomes.get(test, ("missing", ""))

    def unlike(self, other: Run) -> list[str]:
        """Return the tests that ended differently in another run."""
        tests = sorted(self.outcomes.keys() | other.outcomes.keys())
        return [test for test in tests if self.ended(test)[0] != other.ended(test)[0]]

    def count(self, outcome: str) -> int:
        """Return how many tests ended in a way."""
        return sum(ended == outcome for ended, _ in self.outcomes.values())


def source(client: str) -> Path:
    """Download the source distribution of the installed version once, and return where it is unpacked."""
    pinned = f"{client}=={version(client)}"
    directory = SOURCES / pinned
    if not directory.exists():
        with tempfile.TemporaryDirectory() as downloads:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", client]
            subprocess.run([*pip, "--dest", downloads, pinned], check=True)
            with tarfile.open(next(Path(downloads).glob("*.tar.gz"))) as archive:
                archive.extractall(directory, filter="data")
    return next(directory.iterdir())


def run(client: str, *, genledger: bool, files: Iterable[str] = ()) -> Run:
    """Run a client's suite, or these files of it."""
    directory = source(client)
    with tempfile.TemporaryDirectory() as state:
        outcomes = Path(state) / "outcomes"
        environment = {**os.environ, "PYTHONPATH": str(HERE), "FOREIGN_OUTCOMES": str(outcomes)}
        environment |= {"XDG_STATE_HOME": state} | ({"FOREIGN_WITH_GENLEDGER": "1"} if genledger else {})
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "foreign_suite",
            "-q",
            "--timeout=60",
            "-p",
            "no:cacheprovider",
        ]
        command += ["-n", "2", "--dist", "loadfile", "--tb=no", *(files or SUITES[client])]
        log = SOURCES / f"{client}-{'with' if genledger else 'without'}.log"
        with log.open("w") as output:
            subprocess.run(command, cwd=directory, env=environment, stdout=output, stderr=output, check=False)
        if not outcomes.exists():
            sys.exit(f"the suite of {client} did not run; {log} has its output")
        return read(outcomes)


def read(outcomes: Path) -> Run:
    """Read what the plugin wrote."""
    ended: dict[str, tuple[str, str]] = {}
    warnings = set()
    for line in outcomes.read_text().splitlines():
        kind, name, value = json.loads(line)
        if kind == "warning":
            warnings.add((name, re.sub(r"0x[0-9a-f]+|\d+|gw\d", "#", value)))
        elif ended.get(name, ("passed",))[0] == "passed":  # a test that passes can still fail when it is taken down
            ended[name] = kind, value
    return Run(ended, warnings)


def differences(client: str, without: Run, with_it: Run) -> list[str]:
    """Return a line for each test and each warning that is not the same in both runs."""
    found = []
    for test in without.unlike(with_it):
        before, reason_before = without.ended(test)
        after, reason = with_it.ended(test)
        found.append(f"{test}: {before} without, {after} with Genledger: {reason or reason_before}")
    found += [f"only with Genledger: {name}: {text}" for name, text in sorted(with_it.warnings - without.warnings)]
    return [line for line in found if not any(known in line for known in EXPECTED.get(client, ()))]


def main(clients: list[str]) -> int:
    """Compare the suites of these clients."""
    found = False
    print(f"{'client':<24}{'tests':>8}{'passed without':>16}{'passed with':>13}{'differences':>13}")
    for client in clients or SUITES:
        without, with_it = run(client, genledger=False), run(client, genledger=True)
        files = {test.partition("::")[0] for test in without.unlike(with_it)}
        if files:  # a test that depends on the machine's speed rarely fails twice
            without.outcomes.update(run(client, genledger=False, files=files).outcomes)
            with_it.outcomes.update(run(client, genledger=True, files=files).outcomes)
        lines = differences(client, without, with_it)
        passed = f"{without.count('passed'):>16}{with_it.count('passed'):>13}"
        print(f"{client + ' ' + version(client):<24}{len(without.outcomes):>8}{passed}{len(lines):>13}")
        print(*(f"  {line}" for line in lines), sep="\n", flush=True)
        found = found or bool(lines)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
