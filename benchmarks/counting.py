"""Instructions that a call adds, counted under callgrind: they repeat whatever else the machine does.

Counting starts after all imports and warm-up, with garbage frozen and a fixed hash seed. The caller's own thread,
the other threads, and the export of what the calls queued are counted apart: work moved off the caller's path is
not gone.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.contenders import Contender
from benchmarks.environments import ENVIRONMENTS
from benchmarks.processes import Process
from benchmarks.traffic import CASES
from benchmarks.worker import TOGGLE

SOURCE = Path(__file__).with_name("toggle.c")

# Nothing exports by the clock while calls are counted: what they queued is exported, and counted, afterwards.
_QUIET = {
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
    "OTEL_BLRP_SCHEDULE_DELAY": "3600000",
    "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
}


BLOCKS = 3
"""How often each case is counted; the median counts."""


class CannotCount(Exception):
    """valgrind or a C compiler is missing; the message says what to install."""


@dataclass(frozen=True)
class Count:
    """Millions of instructions per call (medians of blocks), and what was recorded for one call."""

    caller: float
    spread: float
    """Largest minus smallest block of the caller's count."""
    export: float
    """Flushing once, in the caller's thread, what a block of calls queued: a collection of metrics costs much the
    same for one call as for thousands."""
    others: float
    """All other threads, during the calls and the flush."""
    spans: float
    logs: float
    points: float


def build_toggle() -> Path:
    """Compile the library that switches callgrind on and off, unless it is there.

    Raises:
        CannotCount: valgrind, its headers or a C compiler is missing.
    """
    for tool in ("valgrind", "cc"):
        if shutil.which(tool) is None:
            raise CannotCount(f"{tool} is not installed; on Debian: apt-get install valgrind gcc libc6-dev")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    library = ENVIRONMENTS / f"bench-toggle-{digest}.so"
    if not library.exists():
        ENVIRONMENTS.mkdir(exist_ok=True)
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CannotCount(f"the switch for callgrind did not compile: {done.stderr.strip()[-300:]}")
    return library


def count(
    contender: Contender,
    setting: str,
    cases: Sequence[str],
    calls: int,
    *,
    seed: int = 0,
    environment: str | None = None,
    program: str = "benchmarks.worker",
) -> Iterator[tuple[str, Count]]:
    """Count each case in one process under callgrind; `calls` is for a chat call, heavier cases get fewer.

    Every case is warmed up before any is counted, the same in every process: the interpreter adapts its code to
    what ran before, and a stream that runs alone counts 0.1 million instructions differently from one that does not.
    """
    library = build_toggle()
    with tempfile.TemporaryDirectory(prefix="callgrind-") as directory:
        valgrind = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--separate-threads=yes",
            f"--callgrind-out-file={directory}/out",
        ]
        variables = {**_QUIET, "PYTHONHASHSEED": str(seed), TOGGLE: str(library)}
        weights = {case: CASES[case].weight if case in CASES else 1 for case in cases}
        with Process(
            contender, setting, program=program, environment=environment, under=valgrind, variables=variables
        ) as process:
            for case in cases:
                process.ask("time", case=case, calls=max(4, 40 // weights[case]))
            for case in cases:
                block = max(2, calls // BLOCKS // weights[case])
                yield case, _median([_block(process, case, block, Path(directory)) for _ in range(BLOCKS)])


def _block(process: Process, case: str, calls: int, directory: Path) -> Count:
    seen = process.ask("count", case=case, calls=calls, warm=2)
    # A dump that the program itself asks for has the asking thread only; one from outside has all.
    subprocess.run(["vgdb", f"--pid={process.pid}", "dump"], capture_output=True, check=True)
    totals = _totals(directory)

    def per_call(dump: str, main: bool) -> float:
        return totals.get((dump, main), 0) / calls / 1e6

    return Count(
        caller=per_call(f"{case}/calls", True),
        spread=0.0,
        export=totals.get((f"{case}/export", True), 0) / 1e6,
        others=per_call("dump", False),
        spans=seen["spans"],
        logs=seen["logs"],
        points=seen["points"],
    )


def _median(blocks: list[Count]) -> Count:
    caller = [block.caller for block in blocks]
    return replace(
        blocks[-1],
        caller=median(caller),
        spread=max(caller) - min(caller),
        others=median(block.others for block in blocks),
        export=median(block.export for block in blocks),
    )


def _totals(directory: Path) -> dict[tuple[str, bool], int]:
    """Instructions by (dump, whether in the main thread), from the dumps that callgrind wrote; they are removed."""
    totals: Counter[tuple[str, bool]] = Counter()
    for file in directory.glob("out.*"):
        dump, thread, instructions = "", 0, 0
        with file.open() as lines:
            for line in lines:
                if line.startswith("desc: Trigger: "):
                    dump = line.strip().removeprefix("desc: Trigger: ").removeprefix("Client Request: ")
                elif line.startswith("thread: "):
                    thread = int(line.split()[1])
                elif line.startswith("totals: "):
                    instructions = int(line.split()[1])
        file.unlink()
        totals[dump, thread == 1] += instructions
    return totals
