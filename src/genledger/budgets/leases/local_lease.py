"""A process's own books: what it was granted in each counter, and what it reserved and settled from that."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from genledger.budgets.leases.lease_protocol import Ask, Standing
from genledger.budgets.rules.windows import BUCKETS

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule

NOTHING = Standing(0, 0, 0, False, 0.0)
"""How a counter stands that the store was never asked about."""


@dataclass(frozen=True, slots=True)
class CounterKey:
    """One counter: a rule, for one scope, in one window (seconds since the epoch; end 0 for none)."""

    key: str
    rule: Rule
    scope: str
    limit: int
    start: float
    end: float

    @classmethod
    def of(cls, rule: Rule, scope: str, limit: int, now: float) -> CounterKey:
        """Return the counter that a call made at `now` is counted in."""
        start, end = rule.window.bounds(now)
        key = f"{rule.name}|{rule.measure}/{rule.window}/{rule.window.zone}|{scope}|{start:.0f}"
        return cls(key, rule, scope, limit, start, end)

    @property
    def meta(self) -> str:
        """Return the description of the counter for readers of the store."""
        fields = {
            "rule": self.rule.name,
            "scope": self.scope,
            "measure": self.rule.measure,
            "per": str(self.rule.window),
            "zone": self.rule.window.zone,
            "start": self.start,
            "end": self.end,
            "span": self.rule.window.span,
            "limit": self.limit,
        }
        return orjson.dumps(fields).decode()


class LocalLease:
    """The books for one counter. All amounts are in units; changed only under the lock of `LocalLeases`.

    `total` is everything settled here, `used` that plus what is reserved for calls in progress, `allowance` how
    far `used` may go before the store must be asked. The rest is what the store said last.
    """

    __slots__ = (
        "acked",
        "allowance",
        "counted",
        "expires",
        "gone",
        "lease",
        "meta",
        "seen",
        "slice",
        "standing",
        "topped_at",
        "total",
        "touched_at",
        "used",
    )

    def __init__(self, counted: CounterKey, now: float) -> None:
        self.counted = counted
        self.meta = counted.meta
        self.lease = uuid.uuid4().hex[:16]
        self.used = 0
        self.total = 0
        self.allowance = 0
        self.expires = 0.0
        self.acked = 0
        self.standing = NOTHING
        self.slice = 0
        self.topped_at = 0.0
        self.touched_at = now
        self.seen = (0, 0)
        self.gone = False

    def ask(self, hold: int, need: int = 0, want: int = 0, *, leave: bool = False) -> Ask:
        """Return the line of a request that reports this account."""
        counted, rule = self.counted, self.counted.rule
        window = rule.window
        return Ask(
            counted.key,
            self.lease,
            counted.limit,
            self.total,
            hold,
            need,
            want,
            counted.start,
            counted.end,
            window.span,
            window.span / BUCKETS,
            window.kept,
            rule.at_limit != "warn",
            rule.on_crash == "spend",
            leave,
            self.meta,
        )

    def heard(self, standing: Standing, total: int, expires: float) -> None:
        """Take what the store answered to a report of `total`."""
        self.allowance = total + standing.held
        self.expires = expires
        self.acked = total
        self.standing = standing

    @property
    def committed(self) -> int:
        """Return the amount settled and reserved by all processes, as the store last reported."""
        return self.standing.settled + self.standing.others + self.standing.held


Hold = tuple[LocalLease, int]
"""An amount reserved in an account."""


class LocalLeases:
    """Every account of the process.

    Settling only appends to `inbox`, without a lock: it may happen in a finaliser that interrupts, in the same
    thread, whoever holds the lock. Whoever takes the lock next enters it before reading anything.
    """

    def __init__(self, overran: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.accounts: dict[str, LocalLease] = {}
        self.inbox: deque[tuple[Sequence[Hold], Sequence[int]]] = deque()
        self.overran = overran
        """Called when a call has cost more than was reserved for it."""

    def open(self, counted: CounterKey, now: float) -> LocalLease:
        """Return the account for a counter. Call with the lock held."""
        account = self.accounts.get(counted.key)
        if account is None:
            account = self.accounts[counted.key] = LocalLease(counted, now)
        elif account.counted != counted:
            account.counted, account.meta = counted, counted.meta
        return account

    def drain(self) -> None:
        """Book settled amounts. Call with the lock held."""
        inbox = self.inbox
        while inbox:
            holds, spent = inbox.popleft()
            for (account, amount), actual in zip(holds, spent, strict=True):
                if account.gone:
                    account = self.open(account.counted, account.touched_at)
                account.used += actual - amount
                account.total += actual

    def take(self, holds: Sequence[Hold], now: float) -> bool:
        """Reserve every amount out of what was granted, or nothing. Call with the lock held."""
        if self.inbox:
            self.drain()
        for account, amount in holds:
            if account.used + amount > account.allowance or account.expires <= now:
                return False
        for account, amount in holds:
            account.used += amount
        return True
