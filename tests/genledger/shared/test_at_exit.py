from __future__ import annotations

import subprocess
import sys


def run(code: str) -> list[str]:
    """Run a script, and return the lines it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    return done.stdout.splitlines()


def test_what_was_given_first_runs_first_and_before_what_the_application_registered_meanwhile() -> None:
    # The first is the shutdown of everything at once: those after it find nothing left to wait for. A provider that
    # was made before anything had to be delivered must not shut destinations down one after the other.
    code = """
import atexit
from genledger.shared.at_exit import run_at_exit
run_at_exit(lambda: print("everything"))
atexit.register(print, "the application's provider")
delivery = lambda: print("a delivery")
for _ in range(3):
    run_at_exit(delivery)
"""
    assert list(dict.fromkeys(run(code))) == ["everything", "a delivery", "the application's provider"]


def test_what_is_given_while_the_process_ends_runs_as_well() -> None:
    # A stream that is still open is settled at the end, and its record starts the first delivery.
    code = """
import atexit
from genledger.shared.at_exit import run_at_exit
atexit.register(lambda: run_at_exit(lambda: print("a delivery")))
"""
    assert list(dict.fromkeys(run(code))) == ["a delivery"]


def test_what_is_open_is_settled_then_all_is_delivered_then_budgets_are_given_back() -> None:
    code = """
from genledger.shared.at_exit import run_at_exit
run_at_exit(lambda: print("budgets"), stage="release")
run_at_exit(lambda: print("everything"))
run_at_exit(lambda: print("open streams"), stage="settle")
"""
    assert list(dict.fromkeys(run(code))) == ["open streams", "everything", "budgets"]
