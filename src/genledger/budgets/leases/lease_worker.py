"""The guard's background thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from genledger.shared.loggers import logger_of

_log = logger_of("genledger.budgets")

TICK_SECONDS = 0.25
"""How often what was settled is reported."""


class Worker:
    """Runs `tick` every quarter of a second, and at once when something is put into `wake`."""

    def __init__(self, wake: SimpleQueue[None], tick: Callable[[], None], last: Callable[[], None]) -> None:
        self._wake = wake
        self._tick = tick
        self._last = last
        self._stopping = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="genledger-budgets", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Do `last` instead of the next tick and end; waits for that at most `timeout` seconds."""
        self._stopping = True
        self._wake.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        due = time.monotonic() + TICK_SECONDS
        while not self._stopping:
            try:
                self._wake.get(timeout=max(0.0, due - time.monotonic()))
                while True:
                    self._wake.get_nowait()
            except Empty:
                pass
            if not self._stopping:
                self._safely(self._tick)
            due = time.monotonic() + TICK_SECONDS
        self._safely(self._last)

    def _safely(self, work: Callable[[], None]) -> None:
        try:
            work()
            self._failing = False
        except Exception:
            # Whatever is wrong, the thread that keeps leases alive must live; said once until it works again.
            if not self._failing:
                self._failing = True
                _log.exception("Updating budgets failed; it is retried.")
