"""The records of results of batches."""

from __future__ import annotations

from typing import Any

import genledger
from genledger.engine.record import CallRecord


class Entries:
    """A destination that keeps the records of results."""

    def __init__(self) -> None:
        self._all: list[CallRecord] = []

    def accept(self, record: Any) -> None:
        """Keep a record."""
        self._all.append(record)

    def flush(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    def shutdown(self, timeout: float) -> bool:
        """Nothing waits."""
        return True

    @property
    def results(self) -> list[CallRecord]:
        """The records, once all of them are booked."""
        assert genledger.flush(30)
        return [entry for entry in self._all if entry.operation != "batch"]
