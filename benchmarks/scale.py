"""The process that scale is measured in: `python -m benchmarks.scale CONTENDER SETTING`.

The client's answers are there already, below the instrumentation, so that one process can offer far more calls
than a client could send.
"""

from __future__ import annotations

import array
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from benchmarks.traffic import open_stream, prepare
from benchmarks.worker import Worker, serve


class FreeClient:
    """Calls that go through the instrumented `request` and are answered at once, with the same object each time."""

    def __init__(self) -> None:
        from openai._base_client import SyncAPIClient

        self._asked: tuple[Any, tuple[Any, ...], dict[str, Any]] | None = None
        self._answer: Any = None
        self.free = False
        real = SyncAPIClient.request

        def request(client: Any, *args: Any, **kwargs: Any) -> Any:
            if self.free:
                return self._answer
            self._asked = (client, args, kwargs)
            self._answer = real(client, *args, **kwargs)
            return self._answer

        SyncAPIClient.request = request  # type: ignore[method-assign,assignment]

    def repeat(self) -> Any:
        """The last call again, for nothing."""
        assert self._asked is not None
        client, args, kwargs = self._asked
        return client.request(*args, **kwargs)


class ScaleWorker(Worker):
    """Obeys the commands about scale, besides the others."""

    def __init__(self, contender: str, setting: str) -> None:
        self._client = FreeClient()
        super().__init__(contender, setting)

    def _free(self) -> Callable[[], Any]:
        self._client.free = False
        prepare("chat", self.clients)()
        self._client.free = True
        for _ in range(200):
            self._client.repeat()
        self._settle()
        return self._client.repeat

    def offer(
        self, per_second: int, seconds: float, threads: int, stuck: bool = False, plain_us: float | None = None
    ) -> dict[str, float]:
        """Offer calls at a rate, from several threads; a call that is late is made at once.

        `waited` is wall time less the thread's own CPU time: for the interpreter's lock, other locks and the
        machine. `done` below `offered` says that the processor was the limit. With `stuck` the exporter of spans
        never returns. With `plain_us` no call is made: a loop of plain Python that takes so much CPU time shows how
        long the interpreter lets threads wait for each other anyway.
        """
        call = self._free() if plain_us is None else _plain(int(plain_us * 1000))
        if stuck:
            release = threading.Event()
            self.telemetry.spans.export = lambda spans: release.wait()  # type: ignore[method-assign,assignment,return-value]
        times = [(array.array("d"), array.array("d")) for _ in range(threads)]
        begin = time.perf_counter() + 0.05
        workers = [
            threading.Thread(
                target=_offer,
                args=(call, begin + number / per_second, threads / per_second, begin + seconds, *times[number]),
            )
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        took = sorted(value for walls, _ in times for value in walls)
        waited = sorted(value for _, waits in times for value in waits)
        return {
            "offered": per_second * seconds,
            "done": len(took),
            "median_us": took[len(took) // 2] * 1e6,
            "p99_us": took[int(len(took) * 0.99)] * 1e6,
            "waited_p99_us": waited[int(len(waited) * 0.99)] * 1e6,
            "waited_max_us": waited[-1] * 1e6,
        }

    def books(self, ledger: str) -> dict[str, Any]:
        """What the counters and the ledger file say was spent, and what was dropped on the way."""
        self.telemetry.flush()
        with closing(sqlite3.connect(ledger)) as connection:
            rows, total = connection.execute("SELECT count(*), total(cost_usd) FROM calls").fetchone()
        return {
            "ledger_rows": rows,
            "ledger_usd": total,
            "ledger_dropped": _ledger_dropped(),
            "spans": self.telemetry.spans.spans,
            "histogram_values": self.telemetry.points.points,
            "counters": self.telemetry.points.sums,
            "destinations": _destination_stats(),
        }

    def tenants(self, numbers: list[int], calls: int) -> list[dict[str, float]]:
        """Microseconds of CPU for one call in the attribution of one of many tenants, all of them in turn."""
        from genledger.context import attribution  # type: ignore[import-not-found,unused-ignore]

        call = self._free()
        seen: list[dict[str, float]] = []
        for number in numbers:
            names = [f"tenant-{number}-{index}" for index in range(number)]
            blocks = [attribution(tenant=name, feature="benchmark") for name in names]
            for block in blocks:
                with block:
                    call()
            self._settle()
            cpu = time.thread_time_ns()
            for index in range(calls):
                # A stride that is prime to the numbers: no tenant is warm by luck.
                with blocks[index * 7919 % number]:
                    call()
            seen.append({"tenants": number, "cpu": (time.thread_time_ns() - cpu) / calls / 1e3})
        return seen

    def streams(self, numbers: list[int]) -> list[dict[str, float]]:
        """Microseconds of CPU for one chunk while so many streams are open, read in turn."""
        self._client.free = False
        opened = open_stream("stream_20", self.clients)
        seen: list[dict[str, float]] = []
        for number in numbers:
            iterators = [iter(opened()) for _ in range(number)]
            self._settle()
            chunks = 0
            cpu = time.thread_time_ns()
            while iterators:
                left = []
                for iterator in iterators:
                    if next(iterator, None) is not None:
                        chunks += 1
                        left.append(iterator)
                iterators = left
            seen.append({"streams": number, "cpu": (time.thread_time_ns() - cpu) / chunks / 1e3})
        return seen

    def destinations(self, names: list[list[str]], calls: int) -> list[dict[str, Any]]:
        """Microseconds for one call with each set of destinations: the caller's CPU, and the whole process's."""
        import genledger  # type: ignore[import-not-found,unused-ignore]

        seen: list[dict[str, Any]] = []
        for chosen in names:
            genledger.instrument(
                capture_content=True,
                tracer_provider=self.telemetry.tracer_provider,
                meter_provider=self.telemetry.meter_provider,
                logger_provider=self.telemetry.logger_provider,
                destinations=chosen,
            )
            call = self._free()
            cpu, everything = time.thread_time_ns(), time.process_time_ns()
            for _ in range(calls):
                call()
            cpu = time.thread_time_ns() - cpu
            genledger.flush(60)
            everything = time.process_time_ns() - everything
            seen.append(
                {
                    "destinations": ", ".join(chosen) or "none",
                    "cpu": cpu / calls / 1e3,
                    "process": everything / calls / 1e3,
                    "stats": _destination_stats(),
                }
            )
        return seen


def _plain(nanoseconds: int) -> Callable[[], None]:
    def loop() -> None:
        end = time.thread_time_ns() + nanoseconds
        while time.thread_time_ns() < end:
            pass

    return loop


def _offer(call: Callable[[], Any], due: float, gap: float, end: float, walls: Any, waits: Any) -> None:
    while due < end:
        now = time.perf_counter()
        if now >= end:
            break
        if now < due:
            time.sleep(due - now)
        cpu, now = time.thread_time_ns(), time.perf_counter()
        call()
        took = time.perf_counter() - now
        walls.append(took)
        waits.append(max(0.0, took - (time.thread_time_ns() - cpu) / 1e9))
        due += gap


def _ledger_dropped() -> int:
    from genledger.setup.instrument import wired  # type: ignore[import-not-found,unused-ignore]

    connected = wired()
    return sum(connected.destinations["ledger"].stats()["dropped"].values()) if connected is not None else 0


def _destination_stats() -> dict[str, Any]:
    """What each of Genledger's destinations accepted, sent and dropped, in its own words."""
    from genledger.setup.instrument import wired  # type: ignore[import-not-found,unused-ignore]

    connected = wired()
    if connected is None:
        return {}
    return {
        name: repr(destination.stats())
        for name, destination in connected.destinations.items()
        if hasattr(destination, "stats")
    }


if __name__ == "__main__":
    serve(ScaleWorker)
