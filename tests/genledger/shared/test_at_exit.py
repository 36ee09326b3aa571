from __future__ import annotations

import subprocess
import sys


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["everything", "a delivery", "the application's provider"]
