"""Time as the destinations see it; one object, so that a test can stand in for the hours."""

from __future__ import annotations

import time


class Clock:
    """The system's time, immune to jumps of the wall clock while the process runs.

    The wall clock is read once. Later readings add what the monotonic clock has counted since, so that a
    correction of the system's time cannot make a stored record look old.
    """

    def __init__(self) -> None:
        self._started_ns = time.time_ns() - time.monotonic_ns()

    def now(self) -> float:
        """Seconds on a clock that never goes back; comparable only with itself."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._started_ns + time.monotonic_ns()


SYSTEM_CLOCK = Clock()
