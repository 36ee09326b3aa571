"""What is expected, and how far from it something is: pure functions over series.

A sum of money per day is skewed, has weekdays, grows, and for a small tenant is mostly chance. So days are compared
as logarithms, with the median instead of the mean, with a factor for each weekday, and with the growth of the last two
weeks. Where there is too little to judge by, the answer is "not enough data", not a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

WEEK = 7

HISTORY_DAYS = 35
"""Days that are looked at: five of each weekday."""

MIN_DAYS = 14
"""Days without which nothing is expected: two of each weekday."""

MIN_CALLS_A_DAY = 10.0
"""Calls a day below which a day's cost is mostly chance."""

DEVIATIONS = 4.0
"""How many robust deviations from what is expected are out of the ordinary."""

LEAST_SPREAD = 0.15
"""The least robust deviation, of logarithms: a day within 16 % is never out of the ordinary by itself."""

LEAST_FACTOR = 0.02
"""The least factor of a weekday: on days without calls, expect a fiftieth of a usual day."""

GROWTH = (0.8, 1.5)
"""The least and the most that two weeks' medians may say about growth in a week."""

MAD_TO_DEVIATION = 1.4826
"""The standard deviation of a normal distribution, by its median absolute deviation."""

PART_OF_THRESHOLD = 0.25
"""The low end of a change's interval must pass this part of the threshold: +40 % must surely be more than +10 %."""

CONFIDENCE = 0.95
"""Of intervals, two-sided."""

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a day is expected to be.

    Attributes:
        value: The expectation.
        spread: The robust deviation of the logarithm of a day.
        n: Days that it is judged by.
    """

    value: float
    spread: float
    n: int

    @property
    def low(self) -> float:
        """Return the low end of the usual range (95 %)."""
        return self.value * math.exp(-_Z * self.spread)

    @property
    def high(self) -> float:
        """Return the high end of the usual range (95 %)."""
        return self.value * math.exp(_Z * self.spread)

    def limit(self, ratio: float, floor: float) -> float:
        """Return what a day must pass to be out of the ordinary.

        It is more than `DEVIATIONS` robust deviations above the expectation, more than `ratio` times it, and by at
        least `floor` more.
        """
        return max(self.value * math.exp(DEVIATIONS * self.spread), self.value * ratio, self.value + floor)


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return math.fsum(values) / len(values) if values else 0.0


def weekday_factors(days: Sequence[float], last_weekday: int) -> list[float]:
    """Return how each weekday compares with the mean of the week around it, as a median over the weeks.

    Args:
        days: One value for each day, oldest first.
        last_weekday: The weekday of the last one, 0 to 6.
    """
    shares: list[list[float]] = [[] for _ in range(WEEK)]
    for place, value in enumerate(days):
        # The week around the day, moved inwards at the ends: every weekday is in it once.
        begin = min(max(0, place - WEEK // 2), max(0, len(days) - WEEK))
        around = mean(days[begin : begin + WEEK])
        if around > 0:
            shares[(last_weekday - (len(days) - 1 - place)) % WEEK].append(value / around)
    factors = [max(LEAST_FACTOR, median(values)) if values else 1.0 for values in shares]
    whole = mean(factors)
    return [max(LEAST_FACTOR, factor / whole) for factor in factors]


def expected_day(days: Sequence[float], calls: Sequence[float], weekday: int) -> Expected | None:
    """Return what the day after `days` is expected to be; `None` if they are too few, or had too few calls.

    It is the median of the last seven days without their weekday's factor, times the growth between the medians of the
    last two weeks (within `GROWTH`) as far as from the middle of that week to the day, times the weekday's factor. It
    is not less than by the median of the last four weeks: after a week of holidays, a usual day is as before.

    Args:
        days: One value for each day, oldest first, zeros included, the first one not before the first call.
        calls: The calls of each of these days.
        weekday: The weekday of the day to expect, 0 (Monday) to 6.
    """
    if len(days) < MIN_DAYS or mean(calls[-2 * WEEK :]) < MIN_CALLS_A_DAY:
        return None
    days = days[-HISTORY_DAYS:]
    factors = weekday_factors(days, (weekday - 1) % WEEK)
    adjusted = [value / factors[(weekday - len(days) + place) % WEEK] for place, value in enumerate(days)]
    level, before = median(adjusted[-WEEK:]), median(adjusted[-2 * WEEK : -WEEK])
    if level <= 0:
        return None
    growth = min(max(level / before, GROWTH[0]), GROWTH[1]) if before > 0 else GROWTH[1]
    middle = (WEEK + 1) / 2  # days from the middle of the last week to the day
    level = max(level * growth ** (middle / WEEK), median(adjusted[-4 * WEEK :]))
    return Expected(level * factors[weekday], spread(adjusted), len(days))


def spread(days: Sequence[float]) -> float:
    """Return the robust deviation of the logarithms of days, without their trend; at least `LEAST_SPREAD`."""
    usual = median(days)
    if len(days) < 2 or usual <= 0:
        return LEAST_SPREAD
    logs = [math.log(max(day, usual * LEAST_FACTOR)) for day in days]
    slope = trend(logs)
    residuals = [value - slope * place for place, value in enumerate(logs)]
    center = median(residuals)
    return max(LEAST_SPREAD, MAD_TO_DEVIATION * median(abs(residual - center) for residual in residuals))


def trend(values: Sequence[float]) -> float:
    """Return the change from one value to the next: the median of all slopes between two of them (Theil and Sen)."""
    slopes = [
        (values[later] - values[earlier]) / (later - earlier)
        for earlier in range(len(values))
        for later in range(earlier + 1, len(values))
    ]
    return median(slopes) if slopes else 0.0


def share_interval(hits: float, n: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson): 0 to 1 of nothing."""
    if n <= 0:
        return 0.0, 1.0
    share = hits / n
    middle = share + _Z * _Z / (2 * n)
    width = _Z * math.sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    whole = 1 + _Z * _Z / n
    return max(0.0, (middle - width) / whole), min(1.0, (middle + width) / whole)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of sums over clusters: what was used, per success.

    Attributes:
        used: The numerator.
        successes: The denominator.
        n: Clusters (traces).
        variance: The variance of the logarithm of the ratio, by the delta method.
    """

    used: float
    successes: float
    n: int
    variance: float

    @property
    def value(self) -> float:
        """Return the ratio; infinite without a success."""
        return self.used / self.successes if self.successes else math.inf


def ratio_of_sums(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Return the ratio of the sums of pairs (used, successes), one pair for each trace."""
    used = math.fsum(pair[0] for pair in pairs)
    successes = math.fsum(pair[1] for pair in pairs)
    n = len(pairs)
    if n < 2 or used <= 0 or successes <= 0:
        return Ratio(used, successes, n, math.inf)
    # log(sum x / sum y) changes with each trace by x / sum x - y / sum y.
    parts = [pair[0] / used - pair[1] / successes for pair in pairs]
    return Ratio(used, successes, n, n / (n - 1) * math.fsum(part * part for part in parts))


def ratio_interval(after: Ratio, before: Ratio) -> tuple[float, float]:
    """Return the 95 % interval of the quotient of two ratios."""
    if not (math.isfinite(after.variance) and math.isfinite(before.variance)) or before.value <= 0:
        return 0.0, math.inf
    quotient = math.log(after.value / before.value)
    width = _Z * math.sqrt(after.variance + before.variance)
    return math.exp(quotient - width), math.exp(quotient + width)


def weeks_interval(ratio: float, day_spread: float) -> tuple[float, float]:
    """Return the 95 % interval of the quotient of two weeks' sums, by the deviation of a day."""
    width = _Z * day_spread * math.sqrt(2 / WEEK)
    return ratio * math.exp(-width), ratio * math.exp(width)


def forecast(days: Sequence[float], calls: Sequence[float], first_weekday: int, count: int) -> tuple[float, float]:
    """Return what the next `count` days are expected to sum up to, and the low end of its usual range.

    Weekdays have their factors, growth is not continued. Nothing is expected of days that are too few to judge by.

    Args:
        days: One value for each day, oldest first.
        calls: The calls of each of these days.
        first_weekday: The weekday of the first of the next days.
        count: How many, in days; the last one may be a part of a day.
    """
    if len(days) < MIN_DAYS or mean(calls[-2 * WEEK :]) < MIN_CALLS_A_DAY:
        return 0.0, 0.0
    days = days[-HISTORY_DAYS:]
    factors = weekday_factors(days, (first_weekday - 1) % WEEK)
    adjusted = [value / factors[(first_weekday - len(days) + place) % WEEK] for place, value in enumerate(days)]
    level = median(adjusted[-WEEK:])
    total = level * math.fsum(factors[(first_weekday + ahead) % WEEK] for ahead in range(count))
    # The level of a week is as uncertain as a seventh of a day is; each further day has its own chance.
    deviation = spread(adjusted) * math.sqrt(1 / WEEK + 1 / max(1, count))
    return total, total * math.exp(-_Z * deviation)


def chance_of_none(expected: float) -> float:
    """Return how likely no call is where `expected` are (Poisson)."""
    return math.exp(-max(0.0, expected))
