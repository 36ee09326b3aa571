"""How many units a Langfuse project has used this month, on this machine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from genledger.destinations.delivery.time_source import SYSTEM_CLOCK, Clock
from genledger.shared.loggers import logger_of

if TYPE_CHECKING:
    from genledger.destinations.delivery.spool import Spool

log = logger_of("genledger")

WHOLE_UNTIL = 0.5
"""The part of the allowance that is used before ordinary traces are thinned out."""

ORDINARY_UNTIL = 0.9
"""The part of the allowance after which only traces worth keeping are sent; at 1.0, none."""

_WRITE_EVERY_S = 10.0


class Allowance:
    """Counts the units that Langfuse bills (traces and observations) in the current month (UTC).

    The count is shared by the processes of a machine through the spool. It is written every ten seconds: a process
    that is killed may leave that much uncounted.

    Args:
        per_month: Units that may be used in a month; `None` only counts.
        spool: Where the count is kept; `None` keeps it in this process.
        clock: Whose month it is.
    """

    def __init__(self, per_month: int | None = None, spool: Spool | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.per_month = per_month
        self._spool = spool
        self._clock = clock
        self._month = ""
        self._elsewhere = 0
        self._uncounted = 0
        self._written_at = float("-inf")
        self._complained = False

    def add(self, units: int) -> None:
        """Count units as used."""
        self._uncounted += units
        if self._clock.now() - self._written_at >= _WRITE_EVERY_S:
            self.save()

    @property
    def used(self) -> int:
        """Units used this month, as far as this process knows."""
        if not self._month:
            self.save()
        return self._elsewhere + self._uncounted

    @property
    def fraction(self) -> float:
        """How much of the allowance is used: 0 to 1 and beyond; always 0 without one."""
        if not self.per_month:
            return 0.0 if self.per_month is None else 1.0
        return self.used / self.per_month

    @property
    def share(self) -> float:
        """The share of ordinary traces that may be sent now: 1, then falling in a straight line to 0."""
        left = (ORDINARY_UNTIL - self.fraction) / (ORDINARY_UNTIL - WHOLE_UNTIL)
        return min(1.0, max(0.0, left))

    def save(self) -> None:
        """Add this process's count to the file, and learn those of the others."""
        self._written_at = self._clock.now()
        month = datetime.fromtimestamp(self._clock.wall_ns() / 1e9, UTC).strftime("%Y-%m")
        if month != self._month:
            self._month, self._elsewhere = month, 0
        if self._spool is None:
            return
        try:
            self._elsewhere, self._uncounted = self._spool.add_units(month, self._uncounted), 0
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("genledger: units are counted in this process only: %s", error)

    def forget(self) -> None:
        """Drop the parent's counts in a forked child; the parent writes them."""
        self._uncounted = 0
