"""Lease protocol, the store's side: a process takes budget from a shared store and reports what it spent.

A store knows, for every counter, what has been settled and what is leased. A process takes a lease, serves
calls from it on its own, and reports. Both sides speak in absolute figures (`total` is everything that was
ever settled under this lease), so a request that is repeated, or whose answer was lost, changes nothing
twice; a request that arrives late is recognised by its number and ignored.

For every counter whose rule holds, and at every moment: settled + everything held ≤ limit.

Windows and leases follow the clock of the store, and clocks are set wrong. So nothing that was spent is deleted,
or counted again, because one clock says that its time is over:

- A **counter**, and what is known of a **lease**, is forgotten when it is over by the clock, and when the store has
  also been in use for as long as it had left when it was last touched. How long the store has been in use is its
  age, which only what processes measure between two of their own requests makes greater, by stopwatches that
  nobody sets (`Age`). It therefore never runs ahead of real time by more than `LONGEST_PAUSE`.
- What has left a **rolling window** is no longer counted, but is deleted only when three windows' worth of newer
  parts are there. The right clock and a wrong one add two of them at most in the time of one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

FORGOTTEN_AFTER = 3600.0
"""Seconds after its expiry for which a lease's total is remembered, in case its process was only asleep."""

LEFT_AFTER = 60.0
"""Seconds for which that of a lease that was given up is remembered, in case the request is repeated."""

LEASES_KEPT = 1000
"""Leases of one counter that have run out and are remembered beyond their time by the clock."""

LONGEST_PAUSE = 60.0
"""Seconds that one pause between two requests of a process adds to the age of a store at most."""

MARGIN = 2 * LONGEST_PAUSE
"""Seconds in use for which a counter is kept beyond its time."""


class Age:
    """How long a store has been in use, in seconds, as one of its processes knows it."""

    def __init__(self) -> None:
        self._known: tuple[float, float] | None = None

    def claim(self) -> float:
        """Return the age that this process has measured; 0 at its first request."""
        if self._known is None:
            return 0.0
        age, measured_at = self._known
        return age + min(time.monotonic() - measured_at, LONGEST_PAUSE)

    def hear(self, age: float) -> float:
        """Take the age that the store knows now; returns the greater one."""
        age = max(age, self.claim())
        self._known = age, time.monotonic()
        return age


class Ask(NamedTuple):
    """Report and request under one lease. Amounts in units, times in seconds since the epoch.

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
    """Reply of the store. `granted`: every `need` was met; otherwise nothing is reserved.

    `stale` says that a window named in the request is not the store's current one.
    """

    now: float
    granted: bool
    stale: bool
    standings: tuple[Standing, ...]


@dataclass(slots=True)
class Lease:
    """Slice of one counter that one process holds."""

    number: int = 0
    total: int = 0
    held: int = 0
    expires: float = 0.0
    charge: bool = False
    forget_at: float = 0.0
    """The age of the store until which its total is remembered."""


@dataclass(slots=True)
class Counter:
    """One counter as a store keeps it: what was settled, by part of the window, and the leases.

    `left` has the parts that are no longer in the window, as far as the clock was right. `expires` is when the
    counter is over by the clock, `forget_at` by the age of the store.
    """

    spent: dict[int, int] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    meta: str = ""
    expires: float = 0.0
    forget_at: float = 0.0
    left: dict[int, int] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Return everything settled in the window, in units."""
        return sum(self.spent.values())

    def age(self, now: float, span: float, part: float, alive: str = "", store_age: float = 0.0) -> None:
        """Let go of what has left the window, and of leases that have run out, but not that of `alive`."""
        current = int(now // part) if part else 0
        if part:
            parts = self.left | self.spent
            left = [index for index in parts if (index + 1) * part <= now - span]
            for index in sorted(left)[: max(0, len(parts) - 3 * round(span / part))]:
                del parts[index]
            self.left = {index: parts.pop(index) for index in left if index in parts}
            self.spent = parts
        for name, lease in list(self.leases.items()):
            if lease.expires <= now and name != alive:
                if lease.held and lease.charge:
                    self.spent[current] = self.spent.get(current, 0) + lease.held
                lease.held = 0
                old = lease.forget_at <= store_age or len(self.leases) > LEASES_KEPT
                if old and lease.expires + FORGOTTEN_AFTER <= now:
                    del self.leases[name]

    def dump(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "spent": {str(part): amount for part, amount in (self.left | self.spent).items()},
            "leases": {
                name: [lease.number, lease.total, lease.held, lease.expires, lease.charge]
                for name, lease in self.leases.items()
            },
            "meta": self.meta,
            "expires": self.expires,
            "forget_at": self.forget_at,
            "forget_leases_at": {name: lease.forget_at for name, lease in self.leases.items()},
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """From plain data."""
        ages = data.get("forget_leases_at", {})  # earlier versions have no ages
        return cls(
            {int(part): amount for part, amount in data["spent"].items()},
            {name: Lease(*(*fields, ages.get(name, 0.0))) for name, fields in data["leases"].items()},
            data["meta"],
            data["expires"],
            data.get("forget_at", 0.0),
        )


def exchange(
    counters: MutableMapping[str, Counter], number: int, ttl: float, asks: Sequence[Ask], now: float, age: float = 0.0
) -> Reply:
    """Take the reports of one process, then grant all that it needs or nothing.

    `number` rises with every request of a process. A lease lasts `ttl` seconds. `now` and `age` are the store's.
    This is the whole rule of the stores; Redis runs the same in `stores/exchange.lua`.
    """
    found = [counters.setdefault(ask.counter, Counter()) for ask in asks]
    leases = [counter.leases.setdefault(ask.lease, Lease()) for ask, counter in zip(asks, found, strict=True)]
    if any(number < lease.number for lease in leases):
        return Reply(now, False, True, ())
    stale = False
    rooms = []
    refused = []
    for ask, counter, lease in zip(asks, found, leases, strict=True):
        counter.age(now, ask.span, ask.part, ask.lease, age)
        if ask.total > lease.total:
            part = int(now // ask.part) if ask.part else 0
            counter.spent[part] = counter.spent.get(part, 0) + ask.total - lease.total
            lease.total = ask.total
        lease.number, lease.held, lease.charge = number, ask.hold, ask.charge
        left = LEFT_AFTER - FORGOTTEN_AFTER if ask.leave else ttl
        lease.expires, lease.forget_at = now + left, age + left + FORGOTTEN_AFTER
        room = ask.limit - counter.settled - sum(each.held for each in counter.leases.values())
        rooms.append(room)
        refused.append(ask.firm and ask.need > max(0, room))
        stale = stale or bool(ask.need and ask.end and not ask.start <= now < ask.end)
        counter.meta = ask.meta
        counter.expires = max(ask.end, now) + ask.kept
        counter.forget_at = age + counter.expires - now + MARGIN
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
