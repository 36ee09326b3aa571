"""Budgets of one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from genledger.budgets.leases.lease_protocol import Age, Ask, Counter, Reply, exchange

CROWDED = 1024
"""Counters above which those that are over are looked for; then, whenever there are twice as many."""


class MemoryStore:
    """A store that lives and ends with the process; several guards may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, Counter] = {}
        self._documents: dict[str, str] = {}
        self._marks: dict[str, float] = {}
        self._owed: dict[str, str] = {}
        self._age = Age()
        self._crowded = CROWDED

    def exchange(self, number: int, ttl: float, asks: Sequence[Ask]) -> Reply:
        """See `Store`."""
        with self._lock:
            now, age = time.time(), self._age.hear(0.0)
            if len(self._counters) > self._crowded:
                for key, counter in list(self._counters.items()):
                    if counter.expires <= now and counter.forget_at <= age:
                        del self._counters[key]
                self._crowded = max(CROWDED, 2 * len(self._counters))
            return exchange(self._counters, number, ttl, asks, now, age)

    def now(self) -> float:
        """See `Store`."""
        return time.time()

    def counters(self) -> dict[str, Counter]:
        """See `Store`."""
        with self._lock:
            now = time.time()
            return {
                key: Counter.load(counter.dump()) for key, counter in self._counters.items() if counter.expires > now
            }

    def document(self, name: str = "") -> str:
        """See `Store`."""
        return self._documents.get(name, "")

    def replace_document(self, old: str, new: str, name: str = "") -> bool:
        """See `Store`."""
        with self._lock:
            if self._documents.get(name, "") != old:
                return False
            self._documents[name] = new
            return True

    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool:
        """See `Store`."""
        with self._lock:
            now = time.monotonic()
            for expired in [each for each, until in self._marks.items() if until <= now]:
                del self._marks[expired]
            if key in self._marks and not again:
                return False
            self._marks[key] = now + seconds
            return True

    def owe(self, key: str, seconds: float, event: str) -> None:
        """See `Store`."""
        if self.mark(key, seconds):
            self._owed[key] = event

    def owed(self) -> dict[str, str]:
        """See `Store`."""
        return dict(self._owed)

    def forget_owed(self, key: str) -> None:
        """See `Store`."""
        self._owed.pop(key, None)

    def after_fork(self) -> None:
        """See `Store`."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """See `Store`."""
