"""What a call consumed and what it cost.

Importing this package is cheap: prices are loaded when the first price is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .cost import UNPRICED_REASONS, Cost, CostSource, Part
from .usage import INPUT_BUCKETS, OUTPUT_BUCKETS, TOKEN_BUCKETS, Usage

if TYPE_CHECKING:
    from .engine import Recorded, backfill, max_price, price, warn_rejected, warn_unpriced
    from .estimate import estimate_tokens
    from .overrides import PriceFileError, configure, load_overrides, override
    from .quick import read_quickly
    from .quotes import Quote, quote
    from .reading import Reading, read_usage
    from .response import cost_of_response

_HOMES = {
    "PriceFileError": "overrides",
    "Quote": "quotes",
    "Reading": "reading",
    "Recorded": "engine",
    "backfill": "engine",
    "configure": "overrides",
    "cost_of_response": "response",
    "estimate_tokens": "estimate",
    "load_overrides": "overrides",
    "max_price": "engine",
    "override": "overrides",
    "price": "engine",
    "quote": "quotes",
    "read_quickly": "quick",
    "read_usage": "reading",
    "warn_rejected": "engine",
    "warn_unpriced": "engine",
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
    "read_quickly",
    "read_usage",
    "warn_rejected",
    "warn_unpriced",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
