"""The blocks of code in the documents, and how they are run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..genledger.applications import REPOSITORY, environment

DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
BIN = Path(sys.executable).parent

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

RUN_BLOCKS = """
import ipaddress, json, sys

def refuse_the_network(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if not ipaddress.ip_address(arguments[1][0]).is_loopback:
            raise AssertionError(f"a document's code connects to {arguments[1]}")
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "127.0.0.1", "localhost", "::1"):
        raise AssertionError(f"a document's code looks up {arguments[0]}")

sys.addaudithook(refuse_the_network)
namespace = {"__name__": "__main__"}
for name, line, code in json.load(sys.stdin):
    exec(compile("\\n" * line + code, name, "exec"), namespace)
"""


@dataclass(frozen=True)
class Block:
    """One fenced block of a document: the line of its fence, its language, and its text."""

    line: int
    language: str
    text: str


def blocks(document: Path) -> list[Block]:
    """Return the blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in FENCE.finditer(text)]


def block(document: Path, part: str) -> Block:
    """Return the first block of a document that has a text in it."""
    return next(one for one in blocks(document) if part in one.text)


def commands(text: str) -> list[str]:
    """Return the commands of a shell block, without comments."""
    return [line for line in (re.sub(r"(^|\s+)# .*", "", line) for line in text.splitlines()) if line]


def run_python(document: Path, directory: Path, *then: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the Python of a document as it stands, block after block in one new process, and `then` some more."""
    code = [(str(document), one.line, one.text) for one in blocks(document) if one.language == "python"]
    return run(
        [sys.executable, "-c", RUN_BLOCKS],
        directory,
        json.dumps([*code, *(("test", 0, one) for one in then)]),
        **variables,
    )


def run_shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one line of a shell block as it stands."""
    return run(["sh", "-c", command], directory, **variables)


def run(arguments: list[str], directory: Path, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, in an environment in which nothing is configured but `variables`."""
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    quiet = {"PATH": path, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        arguments,
        input=given,
        env=environment(directory, **{**quiet, **variables}),
        cwd=directory,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


def shape(output: str) -> list[str]:
    """Return output line by line, without what differs from run to run: numbers, ids, times and widths."""
    lines = []
    for line in output.strip().splitlines():
        line = re.sub(r"\b[0-9a-f]{32}\b", "ID", line)
        line = re.sub(r"\d[\d.,]*|[█▉▊▋▌▍▎▏]+", "#", line)
        lines.append(re.sub(r"─+", "─", " ".join(line.split())).replace("# #", "#").rstrip(" #"))
    return lines
