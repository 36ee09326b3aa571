"""Whether a week's growth is more than chance: the low end of its 95 % interval.

What happens in one session or trace is no independent evidence, so that sums vary with clusters, not with calls. Days
vary together with what happens outside (a launch, a holiday), so that sums also vary with days: each weekday is
compared with the same weekday of the week before. A growth must be beyond both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

from genledger.reports.baselines import CONFIDENCE

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

# Student's t for the same interval, by degrees of freedom: a week has seven days.
_T = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447)

Pair = tuple[float, float]
"""A numerator and a denominator, or a sum in the week and in the week before."""


def least_growth(now: Sequence[float], before: Sequence[float], days: Sequence[Pair]) -> float:
    """Return the low end of a sum's quotient to that of the week before.

    Args:
        now: What each cluster of the week adds to the sum.
        before: Likewise, in the week before.
        days: Sums of each weekday: in the week, and in the week before.
    """
    whole, whole_before = math.fsum(now), math.fsum(before)
    if whole <= 0 or whole_before <= 0:
        return 0.0
    quotient = whole / whole_before
    # Of a sum over a random number of clusters (compound Poisson).
    by_cluster = _Z * math.sqrt(_squares(now) / whole**2 + _squares(before) / whole_before**2)
    if len(days) < 2:
        return 0.0
    rest = _squares(today - quotient * then for today, then in days)
    by_day = _T[min(len(days), len(_T)) - 1] * math.sqrt(len(days) / (len(days) - 1) * rest) / whole
    return quotient * math.exp(-max(by_cluster, by_day))


def _squares(values: Iterable[float]) -> float:
    return math.fsum(value * value for value in values)
