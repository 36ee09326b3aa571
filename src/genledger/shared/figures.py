"""Numbers as people read them: money, counts, durations, times."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MOST_DIGITS = 12


def time_text(ns: int) -> str:
    """Format a time in UTC, to the minute."""
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M")


def digits_for(usd: float | None) -> int:
    """Return the number of decimals for a column of money with the largest value `usd`."""
    if usd is None or usd < 0.1:
        return 6
    return 4 if usd < 10 else 2


def money(usd: float | None, digits: int) -> str:
    """Format an amount in USD. A nonzero amount never shows as zero; an unknown one is a dash."""
    if usd is None:
        return "-"
    if 0 < usd < 10**-digits:
        digits = min(-math.floor(math.log10(usd)), _MOST_DIGITS)
        usd = max(usd, 10**-_MOST_DIGITS)
    return f"${usd:,.{digits}f}"


def signed(usd: float, digits: int) -> str:
    """Format a change in USD, rounded to the digits, with its sign."""
    return f"{'-' if round(usd, digits) < 0 else '+'}${abs(usd):,.{digits}f}"


def count(number: int) -> str:
    """Format a count in at most seven characters: `12,345`, `123.5k`, `1.2M`."""
    if number < 100_000:
        return f"{number:,}"
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= 0.99995 * size:  # one less would be rounded to `1000.0k`
            return f"{number / size:,.1f}{unit}"
    return f"{number / 1000:.1f}k"


def seconds(duration: float | None) -> str:
    """Format a duration in seconds; an unknown one is a dash."""
    return "-" if duration is None else f"{duration:.2f} s"


def number_of(number: int, thing: str, plural: str | None = None) -> str:
    """Format a count with its noun: `1 call`, `2 calls`."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"
