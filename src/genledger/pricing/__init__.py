"""What a call consumed and what it cost.

Importing this package is cheap: prices are loaded when the first price is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from genledger.pricing.cost import UNPRICED_REASONS, Cost, CostSource, Part
from genledger.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS, TOKEN_BUCKETS, Usage

if TYPE_CHECKING:
    from genledger.pricing.calculate import Recorded, backfill, max_price, price, warn_rejected, warn_unpriced
    from genledger.pricing.estimate import estimate_tokens
    from genledger.pricing.price_file import PriceFileError, configure, load_overrides, override
    from genledger.pricing.quotes import Quote, quote
    from genledger.pricing.readers.reading import Reading, read_usage
    from genledger.pricing.response import cost_of_response

_HOMES = {
    "backfill": "genledger.pricing.calculate",
    "configure": "genledger.pricing.price_file",
    "cost_of_response": "genledger.pricing.response",
    "estimate_tokens": "genledger.pricing.estimate",
    "load_overrides": "genledger.pricing.price_file",
    "max_price": "genledger.pricing.calculate",
    "override": "genledger.pricing.price_file",
    "price": "genledger.pricing.calculate",
    "PriceFileError": "genledger.pricing.price_file",
    "Quote": "genledger.pricing.quotes",
    "quote": "genledger.pricing.quotes",
    "read_usage": "genledger.pricing.readers.reading",
    "Reading": "genledger.pricing.readers.reading",
    "Recorded": "genledger.pricing.calculate",
    "warn_rejected": "genledger.pricing.calculate",
    "warn_unpriced": "genledger.pricing.calculate",
}

__all__ = [
    "INPUT_BUCKETS",
    "OUTPUT_BUCKETS",
    "TOKEN_BUCKETS",
    "UNPRICED_REASONS",
    "Cost",
    "CostSource",
    "Part",
    "PriceFileError",
    "Quote",
    "Reading",
    "Recorded",
    "Usage",
    "backfill",
    "configure",
    "cost_of_response",
    "estimate_tokens",
    "load_overrides",
    "max_price",
    "override",
    "price",
    "quote",
    "read_usage",
    "warn_rejected",
    "warn_unpriced",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
