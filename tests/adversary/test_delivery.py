"""Nothing that was recorded is missing and unaccounted for, whatever receivers do and whenever a process is killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

from genledger.destinations.delivery.delivery_stats import Limits
from genledger.destinations.otlp import OtlpDestination, OtlpEndpoint

from ..standins.faults import DRIPS, Close, Fault, Garbage, HalfAnswer, Hang, Late, Status
from ..standins.receivers import Collector
from ..standins.spools import on_disk
from .conftest import Scale

APPLICATION = Path(__file__).with_name("delivery_application.py")

LOST_S = 3.0
"""The loss that fails a test, in seconds of work: more than is promised, for a machine that is busy."""

FIRST_LIFE_S = 6.0
"""How long the first process lives: all of it within one request, which may hang for ten seconds."""

LIVES_S = (0.2, 6.0)
"""How long the others live."""

BEHAVIOURS: dict[str, tuple[Fault | None, ...]] = {
    "answers": (None,),
    "answers late": (Late(seconds=0.8),),
    "hangs": (Hang(),),
    "takes it and hangs": (Hang(keeps=True),),
    "drips": tuple(DRIPS.values()),
    "says 503": (Status(status=503),),
    "takes it and hangs up": (Close(keeps=True),),
    "refuses": (),
    "flaps": (None, Hang(), Status(status=429), DRIPS["headers"], HalfAnswer(keeps=True), Garbage(), None),
}
"""What a receiver does, at random one of these for each request; nothing: it does not listen."""


class Nursery:
    """Starts applications."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, APPLICATION], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()

    def start(self, **order: object) -> int:
        """Start one; its process number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())

    def close(self) -> None:
        """Start no more."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)


def kill(process: int) -> None:
    """Kill a process, and wait until it is gone."""
    os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(process, 0)
            time.sleep(0.001)


@contextlib.contextmanager
def behaving(collector: Collector, faults: tuple[Fault | None, ...], chance: random.Random) -> Iterator[None]:
    """A collector that behaves like this for a while."""
    over = threading.Event()

    def change() -> None:
        while not over.wait(chance.uniform(0.1, 1.0)):
            collector.always(chance.choice(faults))

    changing = threading.Thread(target=change)
    if faults:
        collector.always(faults[0])
        changing.start()
    else:
        collector.stop()
    yield
    over.set()
    if faults:
        changing.join()
        collector.always(None)
    else:
        collector.start()


@dataclass
class Lane:
    """One behaviour of a receiver, in one mode, and what became of the calls."""

    behaviour: str
    durable: bool
    children: list[dict[str, float]] = field(default_factory=list)
    """The calls of each process that was killed, and the seconds that were left to it after each."""
    received: Counter[str] = field(default_factory=Counter)
    left_over: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def run(self, nursery: Nursery, directory: Path, calls: int, chance: random.Random) -> None:
        """Kill processes until they have made enough calls, then let another deliver what they left."""
        spool = directory / "spool"
        with Collector() as collector:
            with behaving(collector, BEHAVIOURS[self.behaviour], chance):
                while self.made < calls or len(self.children) < 2:
                    first = not self.children
                    file = directory / str(len(self.children))
                    process = nursery.start(
                        url=collector.url,
                        spool=str(spool),
                        durable=self.durable,
                        timeout_s=10.0 if first else chance.choice([1.0, 10.0]),
                        made=str(file),
                    )
                    time.sleep(FIRST_LIFE_S if first else chance.uniform(*LIVES_S))
                    kill(process)
                    self.children.append(calls_in(file, time.monotonic_ns()))
            destination = OtlpDestination(OtlpEndpoint(collector.url), spool=spool, durable=True)
            assert destination.flush(120)
            destination.shutdown(20)
            self.dropped = destination.stats().dropped
            self.received = Counter({"".join(key): times for key, times in collector.counts().items()})
        self.left_over = on_disk(spool)

    @property
    def made(self) -> int:
        """Calls that have returned."""
        return sum(map(len, self.children))

    @property
    def lost(self) -> list[list[float]]:
        """For each process, how long before its end the calls were made that never arrived, in seconds."""
        return [[left for call, left in child.items() if call not in self.received] for child in self.children]

    @property
    def unknown(self) -> int:
        """Calls that arrived though they had not returned."""
        return len(self.received.keys() - {call for child in self.children for call in child})

    def __str__(self) -> str:
        lost = self.lost
        return (
            f"{self.behaviour:24}{'durable' if self.durable else 'default':10}{len(self.children):>6}{self.made:>8}"
            f"{len(self.received):>10}{sum(self.received.values()) - len(self.received):>8}{sum(map(len, lost)):>6}"
            f"{max(map(len, lost)):>10}{max((max(child, default=0.0) for child in lost), default=0.0):>8.2f}"
        )


HEADINGS = (
    f"{'the receiver':24}{'mode':10}{'kills':>6}{'made':>8}{'received':>10}{'twice':>8}{'lost':>6}"
    f"{'at once':>10}{'s':>8}"
)


def calls_in(file: Path, ended_ns: int) -> dict[str, float]:
    """The calls that an application has noted, and how long before its end."""
    lines = file.read_text().splitlines() if file.exists() else []
    return {call: (ended_ns - int(at)) / 1e9 for call, at in (line.split() for line in lines)}


def test_what_killed_processes_made_is_received_but_for_the_last_second(tmp_path: Path, scale: Scale) -> None:
    nursery = Nursery()
    lanes = [Lane(behaviour, durable) for behaviour in BEHAVIOURS for durable in (False, True)]
    calls = scale(100, 20_000 // len(lanes) + 1)

    def run(number: int) -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        lanes[number].run(nursery, directory, calls, random.Random(number))

    with ThreadPoolExecutor(len(lanes)) as pool:
        for done in [pool.submit(run, number) for number in range(len(lanes))]:
            done.result()
    nursery.close()

    print("", HEADINGS, *lanes, sep="\n")
    for lane in lanes:
        # At most the call that had not returned when its process was killed is there beside those that had.
        assert lane.unknown <= len(lane.children), lane
        assert lane.dropped == {}, lane
        assert lane.left_over == 0, lane
        for lost in lane.lost:
            assert not (lost and lane.durable), lane
            assert max(lost, default=0.0) < LOST_S, lane


@pytest.mark.parametrize("timeout", [5.0, 0.0])
@pytest.mark.parametrize("behaviour", ["hangs", "refuses"])
def test_what_thirty_threads_recorded_is_received_on_disk_or_counted_at_the_end(
    tmp_path: Path, scale: Scale, behaviour: str, timeout: float, caplog: pytest.LogCaptureFixture
) -> None:
    with Collector() as collector, behaving(collector, BEHAVIOURS[behaviour], random.Random(1)):
        destination = OtlpDestination(OtlpEndpoint(collector.url), spool=tmp_path, limits=Limits())
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(destination.processor)
        tracer = provider.get_tracer("app")
        over = threading.Event()
        made = [0] * 30

        def record(number: int) -> None:
            while not over.wait(0.01):
                tracer.start_span("chat").end()
                made[number] += 1

        threads = [threading.Thread(target=record, args=(number,)) for number in range(len(made))]
        for thread in threads:
            thread.start()
        time.sleep(scale(2, 20))
        delivered = destination.shutdown(timeout)
        over.set()
        for thread in threads:
            thread.join()
    stats = destination.stats()
    kept = on_disk(tmp_path)
    print(f"\n30 threads, {behaviour}, {timeout:.0f} s: made {sum(made)}, on disk {kept}, dropped {stats.dropped}")
    assert stats.sent == 0
    assert sum(made) == kept + sum(stats.dropped.values())
    assert delivered is False
    # Whatever time the receiver has, the disk has its own.
    assert "exit" not in stats.dropped, caplog.text
