"""What the guard adds to a call, and how many calls a second Redis carries.

    python benchmarks/guard.py [--calls 20000] [--seconds 3] [--processes 8]

Starts a `redis-server` of its own. Bars: 15 µs at the median on memory and on leased Redis; 20,000 settled calls
a second from eight processes on one machine. Exits with 1 when one is missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from genledger.budgets import BudgetRequest, Guard, budget, open_store
from genledger.budgets.budget_status import read_status
from genledger.context.attribution import Attribution

RULES = [
    budget(name="organisation", usd=1_000_000, per="month"),
    budget(name="tenant", tenant="each", usd=100_000, per="day"),
    budget(name="rate", tenant="each", requests=10**9, per="minute"),
]
DEMAND = BudgetRequest(
    "openai", "chat", "gpt-5", Attribution(tenant="acme"), input_tokens=900, max_output_tokens=100, cost_ceiling=0.001
)
COST = 0.0004
BAR_US = 15.0
BAR_CALLS = 20_000


@contextmanager
def redis_server() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not on PATH: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [program, "--port", str(port), "--save", "", "--dir", directory], stdout=subprocess.DEVNULL
        )
        try:
            client = redis.Redis(port=port)
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.01)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def added(guard: Guard, calls: int) -> tuple[float, float]:
    """Median and 99th percentile of admitting and settling one call, in µs."""
    guard.admit(DEMAND).settle(COST, 700)
    times = []
    for _ in range(calls):
        begin = time.perf_counter_ns()
        guard.admit(DEMAND).settle(COST, 700)
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1000, statistics.quantiles(times, n=100)[98] / 1000


def hammer(url: str, seconds: float, processes: int) -> float:
    """Calls a second that all processes settle together, as the store counts them."""
    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()
    children = []
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            guard = Guard(RULES, url)
            guard.admit(DEMAND).settle(COST, 700)
            os.write(ready_write, b".")
            os.close(go_write)
            os.read(go_read, 1)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                for _ in range(100):
                    guard.admit(DEMAND).settle(COST, 700)
            guard.close(30)
            os._exit(0)
        children.append(child)
    for _ in range(processes):
        os.read(ready_read, 1)
    begin = time.monotonic()
    os.close(go_write)
    for child in children:
        os.waitpid(child, 0)
    taken = time.monotonic() - begin
    spent = sum(status.settled for status in read_status(open_store(url)) if status.rule == "organisation")
    return spent / COST / taken


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=20_000)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--processes", type=int, default=8)
    chosen = options.parse_args()
    missed = False
    print("added to one call by three rules (admit and settle), µs      median     p99")
    with redis_server() as url, tempfile.TemporaryDirectory() as directory:
        stores = {"memory": "memory", "SQLite": os.path.join(directory, "budgets.db"), "leased Redis": url}
        for name, store in stores.items():
            guard = Guard(RULES, store)
            median, high = added(guard, chosen.calls)
            guard.close()
            missed = missed or median > BAR_US
            print(f"  {name:<56}{median:>8.1f}{high:>8.1f}")
        guard = Guard([budget(tenant="other", usd=1, per="day")], "memory")
        median, high = added(guard, chosen.calls)
        guard.close()
        print(f"  {'a call that no rule is for':<56}{median:>8.1f}{high:>8.1f}")
        rate = hammer(f"{url}?namespace=hammer", chosen.seconds, chosen.processes)
        missed = missed or rate < BAR_CALLS
        print(f"settled calls a second, {chosen.processes} processes on Redis: {rate:,.0f}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
