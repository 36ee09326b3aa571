"""Python 3.12's warning about forks of processes with threads: for the application's threads, not for ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..applications import run

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python warns since 3.12")

FORKS = """
import os
import threading

import genledger

genledger.instrument(libraries=[])
with genledger.observe("work"):
    pass
assert any(thread.name.startswith("genledger-") for thread in threading.enumerate())


def fork():
    if (child := os.fork()) == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


fork()
"""

WITH_A_THREAD = """
threading.Thread(target=threading.Event().wait, daemon=True).start()
fork()
"""


def stderr(directory: Path, code: str) -> str:
    return run(directory, code, GENLEDGER_DESTINATIONS="ledger", GENLEDGER_LEDGER=str(directory / "ledger.db")).stderr


def test_an_application_without_threads_is_not_warned_of_ours(tmp_path: Path) -> None:
    assert stderr(tmp_path, FORKS) == ""


def test_an_application_with_threads_is_warned_as_without_us(tmp_path: Path) -> None:
    assert stderr(tmp_path, FORKS + WITH_A_THREAD).count("DeprecationWarning: This process") == 1
