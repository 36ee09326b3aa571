"""Between a process's books and the store: takes slices of budget, reports, and gives back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from genledger.budgets.leases.lease_protocol import Ask, Reply, Standing
from genledger.budgets.leases.local_lease import Hold, LocalLease, LocalLeases
from genledger.budgets.stores.base import Store, StoreDown
from genledger.shared.loggers import logger_of

_log = logger_of("genledger.budgets")

LEASE_TTL = 30.0
"""Seconds after which the slices of a process that is no longer heard of are taken back."""

SLICE_SECONDS = 10.0
"""A slice is sized to last about this long at the pace at which it is used."""

IDLE_SECONDS = 5.0
"""An account that nothing happened in for this long gives back its slice."""

BATCH = 64
"""Accounts reported in one request."""


class Refusal(NamedTuple):
    """A rule without room for an amount."""

    account: LocalLease
    standing: Standing
    amount: int


class StaleWindow(Exception):
    """The counters asked about are no longer the current ones: look them up again."""


class LeaseClient:
    """Keeps the books in step with one store.

    Only one request runs at a time. The lock of the books is never held during one, so calls that are served
    from the slice at hand go on.
    """

    def __init__(
        self,
        store: Store,
        heard: Callable[[LocalLease], None],
        overran: Callable[[], None] = lambda: None,
        *,
        ttl: float = LEASE_TTL,
    ) -> None:
        self.store = store
        self.down = False
        self.failures = 0
        self._heard = heard
        self._overran = overran
        self._ttl = ttl
        self.offset = time.time() - time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self.books = LocalLeases(self._overran)
        self._mutex = threading.Lock()
        self._numbers = itertools.count(1)

    def after_fork(self) -> None:
        """Begin anew in a child process: what the parent was granted is the parent's."""
        self.store.after_fork()
        self._begin()

    def now(self) -> float:
        """Return the store's time, in seconds since the epoch, as far as it is known."""
        return time.monotonic() + self.offset

    def failed(self, error: StoreDown) -> None:
        """Note that the store did not answer; said once until it does."""
        self.failures += 1
        if not self.down:
            self.down = True
            _log.warning("The budget store is down; rules follow their on_store_down until it recovers: %s", error)

    def probe(self) -> None:
        """See whether a store that was down takes requests again: it may well answer and be read-only.

        Holds no lock, so that calls which are let through without the store do not wait for it.
        """
        with suppress(StoreDown):
            self._request(())

    def reserve(self, holds: Sequence[Hold]) -> list[Refusal]:
        """Reserve every amount or nothing, asking the store when the slices at hand do not do.

        Returns:
            Who refused; empty when everything is reserved.

        Raises:
            StoreDown: The store had to be asked and did not answer.
            StaleWindow: A window ended, by the store's clock, or an account was given up.
        """
        books = self.books
        with self._mutex:
            with books.lock:
                now = self.now()
                if any(account.gone for account, _ in holds):
                    raise StaleWindow
                if books.take(holds, now):
                    return []
                if self.down:
                    raise StoreDown("it did not answer the last request")
                exhausted = [refusal for hold in holds if (refusal := _exhausted(*hold)) is not None]
                if exhausted:
                    return exhausted
                asks = [self._ask(account, amount, now) for account, amount in holds]
                # Taken already, so that no other thread uses it while the store is asked.
                for account, amount in holds:
                    account.used += amount
            reply = None
            try:
                reply = self._exchange(asks)
            finally:
                with books.lock:
                    if reply is not None:
                        self._apply([account for account, _ in holds], asks, reply, now)
                    if reply is None or not reply.granted:
                        for account, amount in holds:
                            account.used -= amount
        if reply.stale:
            raise StaleWindow
        return [
            Refusal(account, standing, amount)
            for (account, amount), standing in zip(holds, reply.standings, strict=True)
            if standing.refused
        ]

    def reserve_alone(self, holds: Sequence[Hold]) -> list[LocalLease]:
        """Reserve every amount or nothing without the store, as each rule's `on_store_down` has it.

        Returns:
            Who refused; empty when everything is reserved.
        """
        with self._mutex, self.books.lock:
            self.books.drain()
            now = self.now()
            refused = [account for account, amount in holds if not _alone(account, amount, now)]
            if not refused:
                for account, amount in holds:
                    account.used += amount
            return refused

    def _ask(self, account: LocalLease, amount: int, now: float) -> Ask:
        granted = account.allowance if account.expires > now else account.used
        hold = max(granted, account.used) - account.total
        need = max(0, account.used + amount - account.total - hold)
        if not need:
            return account.ask(hold)
        quick = now - account.topped_at < SLICE_SECONDS
        account.slice = max(account.slice * 2 if quick else account.slice // 2, amount)
        account.topped_at = now
        return account.ask(hold, need, account.slice)

    def sync(self, *, leave: bool = False) -> None:
        """Report what was settled, keep leases alive, and give back what is idle or, to `leave`, everything.

        Raises:
            StoreDown: The store did not answer.
        """
        with self.books.lock:
            self.books.drain()
            accounts = iter(list(self.books.accounts.values()))
        # In batches, so that a call which needs the store does not wait for all of them.
        while batch := list(islice(accounts, BATCH)):
            with self._mutex:
                with self.books.lock:
                    self.books.drain()
                    now = self.now()
                    reports = [(account, self._report(account, now, leave)) for account in batch if not account.gone]
                    due = [(account, ask) for account, ask in reports if ask is not None]
                if due:
                    asks = [ask for _, ask in due]
                    reply = self._exchange(asks)
                    with self.books.lock:
                        self._apply([account for account, _ in due], asks, reply, now)

    def _report(self, account: LocalLease, now: float, leave: bool) -> Ask | None:
        if (account.used, account.total) != account.seen:
            account.seen = (account.used, account.total)
            account.touched_at = now
        end = account.counted.end
        idle = leave or now - account.touched_at >= IDLE_SECONDS or bool(end and now >= end)
        keep = account.used if idle else account.used + account.slice
        alive = account.expires > now
        returned = alive and account.allowance > keep
        if returned:
            account.allowance = keep
        leaving = idle and account.used == account.total
        if leaving:
            account.allowance = account.used - 1  # Closed: nobody may use it while it is being given up.
        hold = (max(account.allowance, account.used) if alive else account.used) - account.total
        renew = hold > 0 and account.expires - now < self._ttl * 2 / 3
        if leaving or returned or renew or account.total != account.acked:
            return account.ask(hold, leave=leaving)
        return None

    def _apply(self, accounts: Sequence[LocalLease], asks: Sequence[Ask], reply: Reply, now: float) -> None:
        for account, ask, standing in zip(accounts, asks, reply.standings, strict=True):
            account.heard(standing, ask.total, now + self._ttl)
            if ask.leave:
                account.gone = True
                account.allowance = -1
                del self.books.accounts[account.counted.key]
            self._heard(account)

    def _exchange(self, asks: Sequence[Ask]) -> Reply:
        reply = self._request(asks)
        if len(reply.standings) != len(asks):
            raise StaleWindow
        return reply

    def _request(self, asks: Sequence[Ask]) -> Reply:
        try:
            reply = self.store.exchange(next(self._numbers), self._ttl, asks)
        except StoreDown as error:
            self.failed(error)
            raise
        self.offset = reply.now - time.monotonic()
        if self.down:
            self.down = False
            _log.warning("The budget store has recovered.")
        return reply


def _alone(account: LocalLease, amount: int, now: float) -> bool:
    rule = account.counted.rule
    if rule.on_store_down == "open" or rule.at_limit == "warn":
        return True
    fits = account.used + amount <= account.allowance and account.expires > now
    return fits and rule.on_store_down == "lease"


def _exhausted(account: LocalLease, amount: int) -> Refusal | None:
    """Return a refusal that needs no request: in a calendar window what was settled only grows."""
    counted = account.counted
    if not counted.end or counted.rule.at_limit == "warn" or not amount:
        return None
    if account.standing.settled + amount <= counted.limit:
        return None
    return Refusal(account, account.standing, amount)
