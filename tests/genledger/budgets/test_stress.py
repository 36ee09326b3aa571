"""Everybody at once on one tenant's budget: the provider's bill never exceeds it, by a cent.

Nor does it stay far below: some is reserved for calls under way, and in slices, when the last ones give up.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, Store, budget, open_store
from genledger.budgets.rules.units import usd_units

MakeGuard = Callable[..., Guard]
MakeDemand = Callable[..., BudgetRequest]
CENT = 10_000_000


class Watch:
    """Reads the store over and over and remembers the most that was ever settled and reserved together."""

    def __init__(self, store: Store) -> None:
        self.most = 0
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            for key, counter in self._store.counters().items():
                if key.startswith("tenant|"):
                    held = sum(lease.held for lease in counter.leases.values())
                    self.most = max(self.most, counter.settled + held)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


RULES = [
    budget(name="tenant", tenant="each", usd=10, per="month"),
    budget(name="organization", requests=10**9, per="day"),
]


def settled(store: Store) -> int:
    return sum(counter.settled for key, counter in store.counters().items() if key.startswith("tenant|"))


def test_64_threads(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guards = [make_guard(RULES, store) for _ in range(4)]
    bill: list[int] = []

    def work(index: int) -> None:
        chance = random.Random(index)
        refused = 0
        while refused < 3:
            cents = chance.randint(1, 20)
            try:
                reservation = guards[index % 4].admit(demand(cents / 100))
            except BudgetExceeded:
                refused += 1
                continue
            if chance.random() < 0.1:
                reservation.release()
                continue
            cost = chance.randint(1, cents)
            bill.append(cost * CENT)
            reservation.settle(cost / 100, 1)

    with Watch(store) as watch:
        threads = [threading.Thread(target=work, args=(index,)) for index in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for guard in guards:
        guard.close(120)
    assert 500 * CENT < sum(bill) <= 1000 * CENT
    assert watch.most <= 1000 * CENT
    assert settled(store) == sum(bill)


async def test_1000_tasks_with_cancelled_streams(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard(RULES, store)
    bill: list[int] = []

    async def work(index: int) -> None:
        chance = random.Random(index)
        cents = chance.randint(1, 20)
        reservation = await guard.admit_async(demand(cents / 100))
        cost = 0
        try:
            for _ in range(cents):
                await asyncio.sleep(0)
                cost += 1
                bill.append(CENT)
        finally:
            reservation.settle(cost / 100, 1)

    with Watch(store) as watch:
        tasks = [asyncio.create_task(work(index)) for index in range(1000)]
        for _ in range(200):
            await asyncio.sleep(0)
            random.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), BudgetExceeded, asyncio.CancelledError}
    guard.close(120)
    assert 500 * CENT < sum(bill) <= 1000 * CENT
    assert watch.most <= 1000 * CENT
    assert settled(store) == sum(bill)
    assert not any(lease.held for counter in store.counters().values() for lease in counter.leases.values())


class Hammer:
    """`hammer.py` at work."""

    def __init__(self, directory: Path, url: str, **orders: Any) -> None:
        self._bill = directory / "bill"
        self._bill.touch()
        orders = {"url": url, "bill": str(self._bill), "limit": 20.0} | orders
        program = str(Path(__file__).with_name("hammer.py"))
        self.launcher = subprocess.Popen(
            [sys.executable, program, json.dumps(orders)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.launcher.stdout is not None
        self.children = [int(pid) for pid in self.launcher.stdout.readline().split()]

    def calls(self) -> int:
        return self._bill.stat().st_size // 8

    def until(self, calls: int) -> None:
        deadline = time.monotonic() + 300
        while self.calls() < calls:
            assert time.monotonic() < deadline, f"only {self.calls()} calls were made"
            time.sleep(0.002)

    def wait(self) -> int:
        """The provider's bill, in units, when all have ended."""
        assert self.launcher.wait(360) == 0
        return sum(cost for (cost,) in struct.iter_unpack("<q", self._bill.read_bytes()))

    def stop(self) -> None:
        """End whatever is left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.launcher.pid, signal.SIGKILL)
        self.launcher.wait()
        assert self.launcher.stdout is not None
        self.launcher.stdout.close()


StartHammer = Callable[..., Hammer]


@pytest.fixture
def hammer(tmp_path: Path) -> Iterator[StartHammer]:
    made = []

    def start(url: str, **orders: Any) -> Hammer:
        made.append(Hammer(tmp_path, url, **orders))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def test_8_processes_with_clocks_a_minute_apart(shared_url: str, hammer: StartHammer) -> None:
    with Watch(open_store(shared_url)) as watch:
        bill = hammer(shared_url).wait()
    assert 1000 * CENT < bill <= 2000 * CENT
    assert watch.most <= 2000 * CENT
    assert settled(open_store(shared_url)) == bill


def test_8_processes_some_of_which_are_killed(shared_url: str, hammer: StartHammer) -> None:
    """Their leases run out while the others go on; what their calls cost is on the bill all the same."""
    with Watch(open_store(shared_url)) as watch:
        hammered = hammer(shared_url, ttl=0.5, pause=0.02, doomed=4)
        for number, child in enumerate(hammered.children[:4], 1):
            hammered.until(30 * number)
            os.kill(child, signal.SIGKILL)
        bill = hammered.wait()
    assert 1000 * CENT < bill <= 2000 * CENT
    assert watch.most <= 2000 * CENT
    assert settled(open_store(shared_url)) >= bill - sum(20 * CENT for _ in range(4 * 6))


@pytest.mark.parametrize("on_store_down", ["closed", "lease"])
def test_redis_is_killed_and_restarted_under_8_processes(
    own_redis: Any, hammer: StartHammer, on_store_down: str
) -> None:
    hammered = hammer(own_redis.url, pause=0.005, on_store_down=on_store_down, limit=10.0)
    for calls in (30, 80):
        hammered.until(calls)
        own_redis.kill()
        own_redis.start()
    bill = hammered.wait()
    assert 500 * CENT < bill <= 1000 * CENT
    assert settled(open_store(own_redis.url)) == bill


def test_connections_to_redis_are_lost_all_the_time(own_redis: Any, hammer: StartHammer) -> None:
    hammered = hammer(own_redis.url, pause=0.002, on_store_down="closed", limit=10.0)
    with own_redis.client as client:
        while hammered.launcher.poll() is None:
            client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.005)
    bill = hammered.wait()
    assert 500 * CENT < bill <= 1000 * CENT
    assert settled(open_store(own_redis.url)) == bill


def test_redis_fails_over_to_its_replica(hammer: StartHammer, forwarder: Any, redis_pair: Any) -> None:
    master, replica = redis_pair
    forwarder.port = master.port
    hammered = hammer(
        f"redis://127.0.0.1:{forwarder.own_port}/0?replicas=1", pause=0.005, on_store_down="lease", limit=10.0
    )
    hammered.until(40)
    master.kill()
    with replica.client as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    # From here on there is nobody to replicate to: a replica of the new master takes the old one's place.
    master.start("--replicaof", f"127.0.0.1 {replica.port}")
    forwarder.port = replica.port
    bill = hammered.wait()
    assert 500 * CENT < bill <= 1000 * CENT
    assert settled(open_store(replica.url)) == bill


def test_minutes_are_those_of_the_store(
    redis_server: Any, make_guard: MakeGuard, demand: MakeDemand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines whose clocks are two minutes apart share one minute."""
    wall = time.time
    guards = []
    for skew in (-60.0, 60.0):
        monkeypatch.setattr(time, "time", lambda skew=skew: wall() + skew)
        guards.append(make_guard([budget(requests=10, per="minute")], f"{redis_server.url}?namespace=minutes"))
    store = guards[0].store
    while True:
        minute = store.now() // 60
        admitted = 0
        for guard in guards * 10:
            try:
                guard.admit(demand()).settle(0.0, 1)
                admitted += 1
            except BudgetExceeded:
                pass
        if store.now() // 60 == minute:
            break
    assert admitted == 10


def test_costs_in_floating_point_do_not_drift(store: Store, make_guard: MakeGuard, demand: MakeDemand) -> None:
    guard = make_guard([budget(name="tenant", usd=1, per="month")], store)
    for _ in range(10):
        guard.admit(demand(0.1)).settle(0.1, 1)
    with pytest.raises(BudgetExceeded):
        guard.admit(demand(0.000000001))
    assert guard.flush(60)
    assert settled(store) == usd_units(1.0)
