"""Cost of a call, with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from genledger.pricing.usage import OUTPUT_BUCKETS

CostSource = Literal["provider", "override", "table"]
"""Who said the price: the provider's response, the user's own prices, or the price table."""

_INPUT = frozenset({"input", "input_audio", "input_image"})
_CACHE_READ = frozenset({"cache_read", "cache_read_audio", "cache_read_image"})
_CACHE_WRITE = frozenset({"cache_write", "cache_write_1h"})
_OUTPUT = frozenset(OUTPUT_BUCKETS)


class Part(NamedTuple):
    """One bucket of a cost: `count` × `rate` = `amount`.

    `rate` is USD for one token or one unit (not per million), after every multiplier.
    """

    bucket: str
    count: float  # type: ignore[assignment]  # the field's own name, rather than tuple's method
    rate: float
    amount: float


@dataclass(slots=True, frozen=True)
class Cost:
    """Known cost in USD. A call with unknown cost has no `Cost`.

    `parts` are exclusive and add up to `amount`; they are empty if the provider reported only a total.
    `table_date` is the date of the price table (ISO), when `source` is `table`. `notes` explain the
    amount: an applied multiplier, a tier that the table does not price, inconsistent counts.
    """

    amount: float
    source: CostSource
    parts: tuple[Part, ...] = ()
    table_date: str | None = None
    notes: tuple[str, ...] = ()

    def _sum(self, buckets: frozenset[str]) -> float:
        return sum(part.amount for part in self.parts if part.bucket in buckets)

    @property
    def input(self) -> float:
        """Return USD for input that was neither read from nor written to a cache."""
        return self._sum(_INPUT)

    @property
    def output(self) -> float:
        """Return USD for output, reasoning included."""
        return self._sum(_OUTPUT)

    @property
    def cache_read(self) -> float:
        """Return USD for cached input."""
        return self._sum(_CACHE_READ)

    @property
    def cache_write(self) -> float:
        """Return USD for writing to the cache."""
        return self._sum(_CACHE_WRITE)

    @property
    def other(self) -> float:
        """Return USD for everything billed by a unit that is not a token."""
        return sum(
            part.amount
            for part in self.parts
            if part.bucket not in _INPUT
            and part.bucket not in _OUTPUT
            and part.bucket not in _CACHE_READ
            and part.bucket not in _CACHE_WRITE
        )


REJECTED = "reported_rejected"
"""A reported cost cannot be true: the note on what the call costs instead, and the reason when that is not known."""

UNPRICED_REASONS = ("unknown_model", "unknown_provider", "no_usage", "no_rate", REJECTED, "pending", "error")
"""Why a call has no cost: the values of `genledger.cost.unpriced`."""


def rejection(amount: float) -> str:
    """Return the note that this reported amount was rejected."""
    return f"{REJECTED}:{amount:g}"


def is_rejection(note: str) -> bool:
    """Return whether a note marks a rejected reported cost."""
    return note.startswith(REJECTED)
