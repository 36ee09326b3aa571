"""Processes that hammer one tenant's budget: `python hammer.py '{"url": …}'`, see `Orders`.

Every process writes what each call costs to the provider's bill (a file that all append to) when the provider
would be called, before anything is settled. The launcher forks them, so that they start together.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import time
from dataclasses import dataclass

from genledger.budgets import BudgetExceeded, BudgetRequest, Guard, budget, open_store
from genledger.context.attribution import Attribution

CENT = 10_000_000
LONGEST = 300.0
"""Seconds after which a process stops in any case."""


@dataclass
class Orders:
    url: str
    bill: str
    limit: float
    """USD; calls may cost 1 to 20 cents."""
    processes: int = 8
    ttl: float = 30.0
    on_store_down: str = "lease"
    on_crash: str = "spend"
    pause: float = 0.0
    """Longest time that a call takes, in seconds."""
    doomed: int = 0
    """Processes that do not stop when the budget is exhausted."""


def work(orders: Orders, index: int) -> None:
    chance = random.Random(index)
    # Wall clocks that are off by up to a minute.
    skew, wall = chance.uniform(-60, 60), time.time
    time.time = lambda: wall() + skew
    rules = [
        budget(
            name="tenant",
            tenant="each",
            usd=orders.limit,
            per="month",
            on_store_down=orders.on_store_down,
            on_crash=orders.on_crash,
        ),
        budget(name="organization", requests=10**9, per="day", on_store_down="open"),
    ]
    guard = Guard(rules, orders.url, lease_ttl=orders.ttl)
    bill = os.open(orders.bill, os.O_WRONLY | os.O_APPEND)
    refused = 0
    streams = []
    deadline = time.monotonic() + LONGEST
    while (refused < 20 or index < orders.doomed) and time.monotonic() < deadline:
        cents = chance.randint(1, 20)
        who = Attribution(tenant="acme")
        demand = BudgetRequest("openai", "chat", "gpt-5", who, cost_ceiling=cents / 100, max_output_tokens=100)
        try:
            reservation = guard.admit(demand)
        except BudgetExceeded as error:
            if "store is down" in str(error):
                time.sleep(0.005)
            else:
                refused += 1
            continue
        if chance.random() < 0.1:  # Cancelled before it was sent.
            reservation.release()
            continue
        cost = chance.randint(1, cents)
        os.write(bill, struct.pack("<q", cost * CENT))
        if orders.pause:
            time.sleep(chance.uniform(0, orders.pause))
        if chance.random() < 0.3:  # A stream that is read later.
            streams.append((reservation, cost))
            if len(streams) > 5:
                reservation, cost = streams.pop(0)
                reservation.settle(cost / 100, 10)
        else:
            reservation.settle(cost / 100, 10)
    for reservation, cost in streams:
        reservation.settle(cost / 100, 10)
    while not guard.flush() and time.monotonic() < deadline:
        pass
    guard.close(120)


def main() -> None:
    orders = Orders(**json.loads(sys.argv[1]))
    open_store(orders.url).close()  # Loads what the children need.
    children = []
    for index in range(orders.processes):
        child = os.fork()
        if child == 0:
            try:
                work(orders, index)
            finally:
                os._exit(0)
        children.append(child)
    print(*children, flush=True)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
