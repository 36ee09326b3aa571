"""Interface of a budget store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from genledger.budgets.leases.lease_protocol import Ask, Counter, Reply

REDIS_IS_MISSING = "Budgets in Redis need the redis client, which is not installed: pip install 'genledger[redis]'"


class StoreDown(Exception):
    """The store cannot be reached or cannot answer; whether the request was carried out is not known."""


class Store(Protocol):
    """Counters, small documents, and marks. Every method raises `StoreDown` and may be called by any thread.

    The store owns the clock: windows follow its time, so that processes whose clocks differ agree. The clock
    alone deletes no spending; see `exchange`.
    """

    def exchange(self, number: int, ttl: float, asks: Sequence[Ask]) -> Reply:
        """Carry out `exchange.exchange` atomically."""
        ...

    def now(self) -> float:
        """Return the store's time, in seconds since the epoch."""
        ...

    def counters(self) -> dict[str, Counter]:
        """Return every counter that is not over by the clock."""
        ...

    def document(self, name: str = "") -> str:
        """Return the document last stored by `replace_document`, or an empty string.

        The one without a name has kill switches and budgets; every process reads it twice a second.
        """
        ...

    def replace_document(self, old: str, new: str, name: str = "") -> bool:
        """Put `new` in the place of `old`; false when the document is no longer `old`."""
        ...

    def mark(self, key: str, seconds: float, *, again: bool = False) -> bool:
        """Set a mark that goes away by itself; false when it was set already, unless `again`. 0 seconds remove it."""
        ...

    def owe(self, key: str, seconds: float, event: str) -> None:
        """Set a mark and remember an event that is to be delivered; nothing if the mark was set already."""
        ...

    def owed(self) -> dict[str, str]:
        """Return the events that nobody has delivered yet."""
        ...

    def forget_owed(self, key: str) -> None:
        """Forget an event that was delivered; its mark stays."""
        ...

    def after_fork(self) -> None:
        """Drop connections and locks that belong to the parent process."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...
