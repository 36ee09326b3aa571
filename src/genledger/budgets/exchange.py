"""How a process takes budget from a shared store and says what it spent: the store's side.

A store knows, for every counter, what has been settled and what is leased. A process takes a lease, serves
calls from it on its own, and reports. Both sides speak in absolute figures (`total` is everything that was
ever settled under this lease), so a request that is repeated, or whose answer was lost, changes nothing
twice; a request that arrives late is recognised by its number and ignored.

For every counter whose rule holds, and at every moment: settled + everything held ≤ limit.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

FORGOTTEN_AFTER = 3600.0
"""Seconds after its expiry for which a lease's total is remembered, in case its process was only asleep."""

LEFT_AFTER = 60.0
"""Seconds for which that of a lease that was given up is remembered, in case the request is repeated."""


class Ask(NamedTuple):
    """What is reported and wanted under one lease. Amounts in units, times in seconds since the epoch.

    `hold` is what the lease keeps of what it was granted, apart from what was settled. `need` is what must be added
    for the call at hand, `want` what it would like beyond that. `start` and `end` bound the window (end 0:
    none); `span` is the length of a rolling one, cut into parts of `part` seconds. `kept` is how long the
    counter outlives its window or last use. A rule that only warns is not `firm`. `charge` counts what is
    held as spent should the process vanish. `leave` gives the lease up. `meta` describes the counter to readers.
    """

    counter: str
    lease: str
    limit: int
    total: int
    hold: int
    need: int
    want: int
    start: float
    end: float
    span: float
    part: float
    kept: float
    firm: bool
    charge: bool
    leave: bool
    meta: str


class Standing(NamedTuple):
    """How one counter stands after an exchange. `held` is this lease's, `others` everyone else's."""

    settled: int
    others: int
    held: int
    refused: bool
    frees_at: float
    """When the oldest spending leaves a rolling window; 0 in any other."""


class Reply(NamedTuple):
    """`granted` says that every `need` was met; nothing is added anywhere otherwise.

    `stale` says that a window named in the request is not the store's current one.
    """

    now: float
    granted: bool
    stale: bool
    standings: tuple[Standing, ...]


@dataclass(slots=True)
class Lease:
    """What one process has in one counter."""

    number: int = 0
    total: int = 0
    held: int = 0
    expires: float = 0.0
    charge: bool = False


@dataclass(slots=True)
class Counter:
    """One counter as a store keeps it: what was settled, by part of the window, and the leases."""

    spent: dict[int, int] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    meta: str = ""
    expires: float = 0.0

    @property
    def settled(self) -> int:
        """Everything settled in the window, in units."""
        return sum(self.spent.values())

    def age(self, now: float, span: float, part: float, alive: str = "") -> None:
        """Let go of what has left the window, and of leases that have run out, but not that of `alive`."""
        current = int(now // part) if part else 0
        if part:
            for index in [index for index in self.spent if (index + 1) * part <= now - span]:
                del self.spent[index]
        for name, lease in list(self.leases.items()):
            if lease.expires <= now and name != alive:
                if lease.held and lease.charge:
                    self.spent[current] = self.spent.get(current, 0) + lease.held
                lease.held = 0
                if lease.expires + FORGOTTEN_AFTER <= now:
                    del self.leases[name]

    def dump(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "spent": {str(part): amount for part, amount in self.spent.items()},
            "leases": {
                name: [lease.number, lease.total, lease.held, lease.expires, lease.charge]
                for name, lease in self.leases.items()
            },
            "meta": self.meta,
            "expires": self.expires,
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """From plain data."""
        return cls(
            {int(part): amount for part, amount in data["spent"].items()},
            {name: Lease(*fields) for name, fields in data["leases"].items()},
            data["meta"],
            data["expires"],
        )


def exchange(counters: MutableMapping[str, Counter], number: int, ttl: float, asks: Sequence[Ask], now: float) -> Reply:
    """Take the reports of one process, then grant all that it needs or nothing.

    `number` rises with every request of a process. A lease lasts `ttl` seconds. This is the whole rule of the
    stores; Redis runs the same in `stores/exchange.lua`.
    """
    found = [counters.setdefault(ask.counter, Counter()) for ask in asks]
    leases = [counter.leases.setdefault(ask.lease, Lease()) for ask, counter in zip(asks, found, strict=True)]
    if any(number < lease.number for lease in leases):
        return Reply(now, False, True, ())
    stale = False
    rooms = []
    refused = []
    for ask, counter, lease in zip(asks, found, leases, strict=True):
        counter.age(now, ask.span, ask.part, ask.lease)
        if ask.total > lease.total:
            part = int(now // ask.part) if ask.part else 0
            counter.spent[part] = counter.spent.get(part, 0) + ask.total - lease.total
            lease.total = ask.total
        lease.number, lease.held, lease.charge = number, ask.hold, ask.charge
        lease.expires = now - FORGOTTEN_AFTER + LEFT_AFTER if ask.leave else now + ttl
        room = ask.limit - counter.settled - sum(each.held for each in counter.leases.values())
        rooms.append(room)
        refused.append(ask.firm and ask.need > max(0, room))
        stale = stale or bool(ask.need and ask.end and not ask.start <= now < ask.end)
        counter.meta = ask.meta
        counter.expires = max(ask.end, now) + ask.kept
    granted = not stale and not any(refused)
    standings = []
    for ask, counter, lease, room, refusal in zip(asks, found, leases, rooms, refused, strict=True):
        if granted:
            holders = sum(1 for each in counter.leases.values() if each.held) + (lease.held == 0)
            lease.held += max(ask.need, min(ask.want, max(0, room) // (2 * holders)))
        others = sum(each.held for each in counter.leases.values()) - lease.held
        frees_at = (min(counter.spent) + 1) * ask.part + ask.span if ask.part and counter.spent else 0.0
        standings.append(Standing(counter.settled, others, lease.held, refusal, frees_at))
    return Reply(now, granted, stale, tuple(standings))
