"""The process that a contender is measured in: `python -m benchmarks.worker CONTENDER SETTING`.

Reads one JSON command per line and answers each with one JSON line. Everything that anybody else prints goes to
the standard error stream.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.telemetry import SETTINGS, Telemetry
from benchmarks.traffic import Clients, open_stream, prepare

TOGGLE = "BENCHMARK_TOGGLE"
"""The variable that names the library which switches callgrind on and off."""


class Worker:
    """One instrumented process and the commands it obeys; each takes and gives plain JSON values."""

    def __init__(self, contender: str, setting: str) -> None:
        self.telemetry = Telemetry(SETTINGS[setting])
        self.start(contender)
        self.clients = Clients()

    def start(self, contender: str) -> None:
        """Switch the contender on."""
        CONTENDERS[contender].start(self.telemetry)

    def prepare(self, case: str) -> Callable[[], object]:
        """Return the call that a case is."""
        return prepare(case, self.clients)

    def _ready(self, case: str, warm: int) -> Callable[[], object]:
        call = self.prepare(case)
        for _ in range(warm):
            call()
        self._settle()
        return call

    def _settle(self) -> None:
        self.telemetry.flush()
        gc.collect()
        gc.freeze()

    def _recorded(self) -> dict[str, int]:
        self.telemetry.flush()
        return {
            "spans": self.telemetry.spans.spans,
            "logs": self.telemetry.logs.records,
            "points": self.telemetry.points.points,
        }

    def time(self, case: str, calls: int, warm: int = 3) -> dict[str, Any]:
        """Microseconds per call: the caller's CPU, and by the wall."""
        call = self._ready(case, warm)
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(calls):
            call()
        cpu, wall = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
        return {"cpu": cpu / calls / 1e3, "wall": wall / calls / 1e3}

    def traced(self, cases: list[str]) -> dict[str, float]:
        """Spans that one call of each case makes."""
        spans: dict[str, float] = {}
        for case in cases:
            call = self._ready(case, 0)
            before = self._recorded()["spans"]
            call()
            made = self._recorded()["spans"] - before
            spans[case] = made if self.telemetry.installed or not self.telemetry.others else 1.0
        return spans

    def count(self, case: str, calls: int, warm: int) -> dict[str, Any]:
        """Run `calls` calls with callgrind counting, then export what they queued; two dumps, told apart by name."""
        counter = ctypes.CDLL(os.environ[TOGGLE])
        call = self._ready(case, warm)
        before = self._recorded()
        rounds = range(calls)
        self._settle()
        counter.start()
        for _ in rounds:
            call()
        counter.dump(f"{case}/calls".encode())
        self.telemetry.flush()
        counter.dump(f"{case}/export".encode())
        counter.stop()
        after = self._recorded()
        seen = {name: (after[name] - before[name]) / calls for name in after}
        # What a contender sends by its own exporters is not seen here: every call of theirs is traced.
        return seen if self.telemetry.installed or not self.telemetry.others else {**seen, "spans": 1.0}

    def grow(self, case: str, calls: int, steps: int, trace: bool) -> list[dict[str, int]]:
        """Memory after each of `steps` equal shares of `calls` calls: resident, and as Python counts it if asked."""
        call = self._ready(case, 100)
        if trace:
            tracemalloc.start()
        seen: list[dict[str, int]] = []
        for step in range(steps + 1):
            if step:
                for _ in range(calls // steps):
                    call()
            self.telemetry.flush()
            gc.collect()
            traced = tracemalloc.get_traced_memory()[0] if trace else 0
            seen.append({"calls": step * (calls // steps), "resident": _resident(), "traced": traced})
        if trace:
            tracemalloc.stop()
        return seen

    def open_streams(self, case: str, numbers: list[int]) -> list[dict[str, float]]:
        """Bytes per open stream, each of which has given its first two chunks, at each number of open streams."""
        opened = open_stream(case, self.clients)
        for _ in opened():
            """What is loaded at the first stream is no stream's."""
        self._settle()
        tracemalloc.start()
        start = tracemalloc.get_traced_memory()[0]
        streams: list[Any] = []
        seen: list[dict[str, float]] = []
        for number in numbers:
            while len(streams) < number:
                stream = opened()
                chunks = iter(stream)
                next(chunks)
                next(chunks)
                streams.append((stream, chunks))
            gc.collect()
            seen.append({"streams": number, "bytes": (tracemalloc.get_traced_memory()[0] - start) / number})
        tracemalloc.stop()
        return seen


def _resident() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def serve(kind: type[Worker]) -> None:
    """Obey commands until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = kind(sys.argv[1], sys.argv[2])
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(worker, command.pop("do"))(**command)), file=answers)
    # What a contender does at exit is not measured here, and some wait for a server that does not exist.
    os._exit(0)


if __name__ == "__main__":
    serve(Worker)
