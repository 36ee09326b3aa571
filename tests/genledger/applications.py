"""Applications in processes of their own, for what a process has only one of: global providers, imports, its end."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
OURS = ("OTEL_", "LANGFUSE_", "GENLEDGER_", "OPENAI_", "ANTHROPIC_")


def environment(directory: Path, **variables: str) -> dict[str, str]:
    """An environment in which nothing is configured but what is said here; files go to `directory`."""
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    path = [str(REPOSITORY), *(os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **quiet,
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "HOME": str(directory),
        "XDG_STATE_HOME": str(directory / "state"),
        **variables,
    }


def run(directory: Path, code: str, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code as an application, to its good end: under `command` when given, else under Python alone."""
    program = directory / "application.py"
    program.write_text(code)
    done = subprocess.run(
        [*(command or (sys.executable,)), str(program)],
        env=environment(directory, **variables),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done


def rows(ledger: Path, query: str = "SELECT * FROM calls") -> list[dict[str, Any]]:
    """What a ledger file says."""
    connection = sqlite3.connect(ledger)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(query)]
    finally:
        connection.close()
