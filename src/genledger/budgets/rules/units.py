"""Amounts as whole numbers: USD in billionths, all other measures in ones.

Stores add integers only, so a budget does not drift however many calls it counts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

Measure = Literal["usd", "tokens", "requests", "steps", "repeats", "depth"]
"""What a rule limits. `repeats` counts identical tool calls, `depth` the nesting of agents."""

UNITS_PER_USD = 1_000_000_000

MAX_UNITS = 2**53 - 1
"""The largest limit: Redis scripts count in doubles, which are exact up to here (about 9 million USD)."""


def usd_units(usd: float) -> int:
    """Return USD as whole billionths; never negative."""
    return max(0, round(usd * UNITS_PER_USD))


def to_units(measure: Measure, number: float | Decimal) -> int:
    """Return a limit as written in a rule, in units.

    Raises:
        ValueError: It is negative, too large, or not a whole number where one is needed.
    """
    exact = Decimal(str(number)) * (UNITS_PER_USD if measure == "usd" else 1)
    if not exact.is_finite() or exact < 0:
        raise ValueError("must not be negative")
    if exact > MAX_UNITS:
        raise ValueError(f"is more than the {from_units(measure, MAX_UNITS):,.0f} that can be counted exactly")
    if exact != exact.to_integral_value():
        raise ValueError("has more than 9 decimals" if measure == "usd" else "must be a whole number")
    return int(exact)


def from_units(measure: Measure, units: int) -> float:
    """Return units as the number that a person would write; a whole number unless it is USD."""
    return units / UNITS_PER_USD if measure == "usd" else units


def show(measure: Measure, units: int) -> str:
    """Return units for a message: `$1.50`, `$0.0000004`, `1,200 tokens`."""
    if measure == "usd":
        usd = units / UNITS_PER_USD
        return f"${usd:,.2f}" if units % 10_000_000 == 0 or abs(usd) >= 1000 else f"${usd:,.9f}".rstrip("0")
    return f"{units:,} {measure}" if measure != "depth" else f"depth {units}"
