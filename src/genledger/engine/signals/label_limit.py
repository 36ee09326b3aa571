"""How many different values a metric label may have."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TypeVar

V = TypeVar("V")

OTHER = "other"
"""What a label says once it has had too many different values."""


class LabelLimit:
    """The values that each label has had, shared by all metrics of a meter. Safe to use from many threads.

    Attributes:
        max_values: Different values that one label may have.
        overflow: How often a label said `OTHER` instead.
    """

    def __init__(self, max_values: int) -> None:
        self.max_values = max_values
        self.start_empty()

    def start_empty(self) -> None:
        """Forget everything, also in a forked child."""
        self._lock = threading.Lock()
        self._values: dict[str, set[object]] = {}
        self.overflow: Counter[str] = Counter()

    def bounded(self, label: str, value: V) -> V | str:
        """Return the value that a label may have; `None` stays `None`."""
        if value is None or value in self._values.get(label, ()):
            return value
        with self._lock:
            values = self._values.setdefault(label, set())
            if len(values) >= self.max_values and value not in values:
                self.overflow[label] += 1
                return OTHER
            values.add(value)
        return value
