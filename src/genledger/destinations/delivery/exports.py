"""OpenTelemetry's own exporters, for as long as we are switched on.

Their processors have no way out: a last export is tried again, with growing pauses, for as long as the exporter's
timeout, whether anybody listens or not, and nothing interrupts it but the exporter's own `shutdown`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from genledger.destinations.delivery.attempt import Attempt
from genledger.destinations.delivery.validate_url import nobody_listens
from genledger.shared.loggers import logger_of

log = logger_of("genledger")

_QUICK = 0.25
"""The part of a shutdown's time for the first look at who listens, and again for what is cut off to end."""


class Exporter(Protocol):
    """Common interface of OpenTelemetry's exporters."""

    def shutdown(self) -> Any:
        """Stop exporting, and end the current export."""
        ...


class Exports:
    """Export of one signal, with a thread that waits for its end.

    Args:
        what: What is exported, for people: `metrics`, `log records`.
        exporter: Who does it.
        flush: Exports what is there.
        stop: Exports what is there, and ends the threads that do so.
        endpoint: Where to, if that is known.
    """

    def __init__(
        self,
        what: str,
        exporter: Exporter,
        flush: Callable[[], object],
        stop: Callable[[], object],
        *,
        endpoint: str | None = None,
    ) -> None:
        self._what = what
        self._endpoint = endpoint
        self._exporter = exporter
        self._flush = flush
        self._flushing: Attempt[object] | None = None
        # There now, as an interpreter that is ending starts no more threads.
        self._stopping = Attempt(stop)
        self._stopping.prepare()

    def flush(self, timeout: float) -> bool:
        """Export all records. Return whether that took at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if self._endpoint is not None and nobody_listens(self._endpoint, timeout):
            return False
        while True:
            # One at a time: nothing ends one that takes longer than somebody has waited for it.
            former = self._flushing
            ours = former is None or former.is_over()
            flushing = Attempt(self._flush) if former is None or ours else former
            self._flushing = flushing
            try:
                flushing.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                return False
            if ours:
                return True

    def begin_shutdown(self, timeout: float) -> None:
        """Begin with the last export; `shutdown` comes after it."""
        self._stopping.begin()

    def shutdown(self, timeout: float) -> bool:
        """Export all records and end every thread. Return whether that took at most `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if self._endpoint is not None and nobody_listens(self._endpoint, _QUICK * timeout):
            self._end(f"nobody listens at {self._endpoint}", deadline)
        else:
            try:
                self._stopping.result(deadline - time.monotonic() - _QUICK * timeout)
                return True
            except TimeoutError:
                self._end(f"that took longer than {timeout:.3g} s", deadline)
        return False

    def _end(self, problem: str, deadline: float) -> None:
        log.warning("genledger: the last %s were not exported: %s", self._what, problem)
        self._exporter.shutdown()
        try:
            self._stopping.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            pass
