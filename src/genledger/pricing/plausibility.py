"""Plausibility check of reported costs.

One answer must not spend a month's budget because of a number in it. A reported cost is held against the price that
is known for the call, else against the highest known price of the usage.
"""

from __future__ import annotations

from dataclasses import replace

from genledger.pricing.cost import REJECTED, Cost, is_rejection, rejection
from genledger.pricing.lookup import dearest
from genledger.pricing.reported import NOTES
from genledger.pricing.usage import Usage

MULTIPLE = 10.0
"""How many times a known price a reported cost may be.

Gateways route one model to costlier hosts, and tables have text rates for media: recorded traffic goes up to 2.9 times.
"""

SURCHARGE = 0.05
"""USD that a reported cost may always be: what is billed per request and counted nowhere.

Recorded answers of OpenRouter have up to 0.007 for searches, 12 to 22 times the price of their few tokens; the table's
highest fee per request is 0.014. This leaves room for several of them.
"""

MOST_UNCOUNTED = 25.0
"""USD that an answer may report which counts nothing, or something that nobody publishes a price of.

Twenty-five seconds of video at a dollar a second, or as many images at a dollar each: above today's highest prices.
"""

_GAPS = ("unpriced_unit:", "unpriced_model:")


def settled(reported: float | None, computed: Cost | str, usage: Usage, notes: tuple[str, ...]) -> Cost | str:
    """Return the cost of a call: as reported when that is plausible, else as computed, and visibly so.

    Args:
        reported: The cost in USD that the answer reports, if any.
        computed: The cost by the user's own price or the table, or why there is none.
        usage: What the call consumed.
        notes: The notes of the reading.
    """
    if reported is not None:
        if 0 <= reported <= _ceiling(computed, usage):
            return Cost(reported, "provider", (), None, notes)
        notes = (rejection(reported),)
    if isinstance(computed, str):
        return REJECTED if any(map(is_rejection, notes)) else computed
    if reported is None:
        return computed
    return replace(computed, notes=(*(note for note in computed.notes if note not in NOTES), *notes))


def _ceiling(computed: Cost | str, usage: Usage) -> float:
    """Return the highest cost in USD that is believed."""
    if isinstance(computed, Cost) and not any(note.startswith(_GAPS) for note in computed.notes):
        return MULTIPLE * computed.amount + SURCHARGE
    known = dearest(usage)
    return MOST_UNCOUNTED if known is None else MULTIPLE * known + SURCHARGE
