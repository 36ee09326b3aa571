"""Unit economics: what a success costs, what was spent in vain, and what is left of revenue.

Every ratio is a ratio of sums, and is given with both.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genledger.ledger.weeks import Ended, LostAttempts
from genledger.pricing.cost import Part
from genledger.reports.baselines import CONFIDENCE, ratio_of_sums
from genledger.reports.evidence import Pair

MIN_SUCCESSES = 20
"""Successes, and clusters, without which a ratio has no interval and is not compared."""

_RESAMPLES = 500
_MOST_GROUPS = 100
_SEED = 17


@dataclass(frozen=True, slots=True)
class CostPerSuccess:
    """The cost of a feature or tenant, divided by its successes of one name.

    Attributes:
        outcome: The outcome's name; a success is one with a value above 0.
        cost: USD of all priced calls, those without a success included.
        successes: How many.
        each: USD per success; `None` without a success.
        low: The low end of its 95 % interval; `None` if there is not enough data.
        high: The high end of it.
    """

    outcome: str
    cost: float
    successes: int
    each: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Waste:
    """What was spent in vain, in USD; every dollar is counted once, in the first of these.

    Attributes:
        key: The feature; `None` also for all together.
        spend: The cost of all calls.
        failed: Of calls that ended as error, timeout or rate limit.
        cancelled: Of calls that were cancelled, streams above all.
        retries: Of attempts that were sent and never answered, of calls that were answered in the end.
        unsuccessful: Of the other calls in traces without a success; `None` where no outcome tells.
        total: The sum; never more than the spend.
        traces: Traces with these calls, where outcomes tell which had a success.
        traces_won: Those of them that had a success.
    """

    key: str | None
    spend: float
    failed: float
    cancelled: float
    retries: float
    unsuccessful: float | None
    total: float
    traces: int
    traces_won: int


@dataclass(frozen=True, slots=True)
class Margin:
    """What is left of revenue. The margin is in USD, and unknown if there is revenue in other currencies, too.

    Attributes:
        key: The feature or tenant; `None` if it has no name.
        revenue: The sum of outcomes with a currency, by currency.
        cost: USD of all priced calls.
        margin: Revenue minus cost.
        share: The margin divided by the revenue.
    """

    key: str | None
    revenue: dict[str, float]
    cost: float
    margin: float | None
    share: float | None


def cost_per_success(outcome: str, clusters: Sequence[Pair]) -> CostPerSuccess:
    """Return the cost of each success, with its interval.

    Args:
        outcome: The name of the outcome.
        clusters: Cost and successes of each session, or of each trace without a session.
    """
    cost = math.fsum(pair[0] for pair in clusters)
    successes = round(sum(pair[1] for pair in clusters))
    low, high = interval(clusters) if successes >= MIN_SUCCESSES else (None, None)
    return CostPerSuccess(outcome, cost, successes, cost / successes if successes else None, low, high)


def interval(clusters: Sequence[Pair], seed: int = _SEED) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of a ratio of sums: a bootstrap over clusters, the same for the same clusters.

    The logarithm of the ratio is studentized: costs are skewed, and simple percentiles would be too narrow. Many
    clusters are put together at random into a hundred groups, which vary alike.

    Args:
        clusters: Numerator and denominator of each.
        seed: Of the random numbers.
    """
    chance = random.Random(seed)
    groups = _grouped(clusters, chance)
    ratio = ratio_of_sums(groups)
    if len(groups) < MIN_SUCCESSES or not 0 < ratio.variance < math.inf:
        return None, None
    center, deviation = math.log(ratio.value), math.sqrt(ratio.variance)
    products = [(one, other, one * one, one * other, other * other) for one, other in groups]
    scores = []
    for _ in range(_RESAMPLES):
        sums = [sum(column) for column in zip(*chance.choices(products, k=len(groups)), strict=True)]
        if sums[0] > 0 and sums[1] > 0:
            deviation_again = _deviation(len(groups), *sums)
            if deviation_again > 0:
                scores.append((math.log(sums[0] / sums[1]) - center) / deviation_again)
    if len(scores) < _RESAMPLES / 2:
        return None, None
    scores.sort()
    tail = (1 - CONFIDENCE) / 2
    least, most = scores[int(tail * len(scores))], scores[min(len(scores) - 1, int((1 - tail) * len(scores)))]
    return math.exp(center - most * deviation), math.exp(center - least * deviation)


def _deviation(n: int, one: float, other: float, ones: float, products: float, others: float) -> float:
    """Return the deviation of the logarithm as `ratio_of_sums` has it, from the sums of a resample."""
    rest = ones / one**2 - 2 * products / (one * other) + others / other**2
    return math.sqrt(max(0.0, n / (n - 1) * rest))


def _grouped(clusters: Sequence[Pair], chance: random.Random) -> list[Pair]:
    if len(clusters) <= _MOST_GROUPS:
        return list(clusters)
    shuffled = list(clusters)
    chance.shuffle(shuffled)
    dealt = (shuffled[first::_MOST_GROUPS] for first in range(_MOST_GROUPS))
    return [(math.fsum(pair[0] for pair in each), math.fsum(pair[1] for pair in each)) for each in dealt]


def wasted(
    ended: Iterable[Ended],
    lost: Iterable[LostAttempts],
    traces: Mapping[str | None, tuple[int, int]],
    judged: frozenset[str | None],
) -> list[Waste]:
    """Return what each feature spent in vain, most first.

    Args:
        ended: How calls ended.
        lost: Calls with attempts that were never answered.
        traces: Traces that had a success, and all of them, by feature.
        judged: The features whose outcomes tell which traces had a success.
    """
    spend: dict[str | None, float] = defaultdict(float)
    vain: dict[tuple[str | None, str], float] = defaultdict(float)
    for one in ended:
        spend[one.feature] += one.cost
        if one.ending != "answered":
            vain[one.feature, one.ending] += one.cost
        elif not one.won:
            vain[one.feature, "unsuccessful"] += one.cost
    for call in lost:
        retried = cost_of_lost_attempts(call.cost, call.parts, call.attempts)
        vain[call.feature, "retries"] += retried
        if not call.won:
            vain[call.feature, "unsuccessful"] -= retried
    found = []
    for feature, whole in spend.items():
        tells = feature in judged
        won, all_traces = traces.get(feature, (0, 0))
        amounts = (vain[feature, "failed"], vain[feature, "cancelled"], vain[feature, "retries"])
        unsuccessful = max(0.0, vain[feature, "unsuccessful"]) if tells else None
        found.append(_waste(feature, whole, amounts, unsuccessful, (all_traces, won) if tells else (0, 0)))
    return sorted(found, key=lambda one: (-one.total, -one.spend, str(one.key)))


def altogether(rows: Sequence[Waste]) -> Waste:
    """Return the sum of the features' waste."""
    known = [row.unsuccessful for row in rows if row.unsuccessful is not None]
    return _waste(
        None,
        math.fsum(row.spend for row in rows),
        (
            math.fsum(row.failed for row in rows),
            math.fsum(row.cancelled for row in rows),
            math.fsum(row.retries for row in rows),
        ),
        math.fsum(known) if known else None,
        (sum(row.traces for row in rows), sum(row.traces_won for row in rows)),
    )


def _waste(
    key: str | None,
    spend: float,
    amounts: tuple[float, float, float],
    unsuccessful: float | None,
    traces: tuple[int, int],
) -> Waste:
    # Sums of doubles in another order may differ in their last digits.
    total = min(spend, math.fsum((*amounts, unsuccessful or 0.0)))
    return Waste(key, spend, *amounts, unsuccessful, total, *traces)


def cost_of_lost_attempts(cost: float, parts: Sequence[Part], attempts: int) -> float:
    """Return what part of a call's cost is for attempts whose answers never came.

    Their parts come after those of the answer, so that they begin where a bucket comes again. Of a cost without parts,
    each attempt is taken for an equal share.

    Args:
        cost: USD, the answered attempt included.
        parts: The parts of the cost.
        attempts: How many were never answered.
    """
    seen: set[str] = set()
    for place, part in enumerate(parts):
        if part.bucket in seen:
            return min(cost, math.fsum(one.amount for one in parts[place:]))
        seen.add(part.bucket)
    return cost * attempts / (attempts + 1)


def margin(key: str | None, revenue: Mapping[str, float], cost: float) -> Margin:
    """Return what is left of revenue after the cost of calls."""
    usd = revenue.get("USD")
    if usd is None or len(revenue) > 1:
        return Margin(key, dict(revenue), cost, None, None)
    left = usd - cost
    return Margin(key, dict(revenue), cost, left, left / usd if usd > 0 else None)
