"""Outputs far longer than is usual in their feature: a loop that does not end, a prompt that asks for everything."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from genledger.ledger.weeks import LongOutput, Period, Unit, long_outputs, output_lengths

MIN_OUTPUTS = 30
"""Outputs without which nothing is usual."""

DEVIATIONS = 4.0
"""How many robust deviations of the logarithm are unusual."""

LEAST_RATIO = 5.0
"""How many times the median is unusual at the least."""

MOST = 10
"""Outputs that are listed."""

_MAD_TO_DEVIATION = 1.4826

Counted = Sequence[tuple[int, int]]
"""Counts of tokens, ascending, and how often each occurred."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An output that is unusually long: `usual` is the median of its feature, in tokens."""

    output: LongOutput
    usual: float

    @property
    def times(self) -> float:
        """Return how many times the usual it is."""
        return self.output.output_tokens / self.usual


def outliers(connection: sqlite3.Connection, period: Period, usual_in: Period) -> list[Outlier]:
    """Return the calls, and the traces without such a call, whose outputs were unusually long; the longest first.

    Args:
        connection: From `Ledger.reading()`.
        period: Where they are looked for.
        usual_in: What is usual there.
    """
    calls = _found(connection, period, usual_in, "call")
    known = {(one.output.trace, one.output.feature) for one in calls}
    traces = [
        one
        for one in _found(connection, period, usual_in, "trace")
        if one.output.calls > 1 and (one.output.trace, one.output.feature) not in known
    ]
    return sorted([*calls, *traces], key=lambda one: -one.output.output_tokens)[:MOST]


def limit_of(lengths: Counted) -> tuple[float, float] | None:
    """Return the median of outputs, and the length above which one is unusual; `None` if there are too few."""
    if sum(often for _, often in lengths) < MIN_OUTPUTS:
        return None
    usual = _median(lengths)
    deviations = sorted((abs(math.log(length / usual)), often) for length, often in lengths)
    spread = _MAD_TO_DEVIATION * _median(deviations)
    return usual, usual * max(LEAST_RATIO, math.exp(DEVIATIONS * spread))


def _found(connection: sqlite3.Connection, period: Period, usual_in: Period, unit: Unit) -> list[Outlier]:
    found = []
    for feature, rows in groupby(output_lengths(connection, usual_in, unit), key=lambda row: row[0]):
        lengths = [(length, often) for _, length, often in rows]
        limit = limit_of(lengths)
        if limit is not None and lengths[-1][0] > limit[1]:
            usual, above = limit
            found += [Outlier(one, usual) for one in long_outputs(connection, period, unit, feature, above, MOST)]
    return found


def _median(counted: Iterable[tuple[float, int]]) -> float:
    counted = list(counted)
    half = sum(often for _, often in counted) / 2
    passed = 0
    for value, often in counted:
        passed += often
        if passed >= half:
            return value
    return 0.0
