"""The change of a cost, split into its causes, which add up to it.

The cost of a week is the number of billed calls, times the share of them whose price is known, times, for each model,
its share of these, the input and output of one of its calls, the share of each kind of input (cached or not), and the
price of a token. Each of the six may have changed. The effect of one depends on which others have changed already; so
each has the mean of its effects over all orders of change (Shapley's value). That is the one way to split which adds
up, treats all alike, and gives nothing to what did not change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import combinations
from typing import NamedTuple

from genledger.ledger.weeks import Composition
from genledger.pricing.usage import INPUT_BUCKETS
from genledger.shared.figures import digits_for

CAUSES = ("volume", "tokens per call", "price", "model mix", "cache share", "priced share")
"""What a cost changes by. `tokens per call` has units such as images, too; `priced share` is what became known."""

_VOLUME, _USE, _PRICE, _MIX, _CACHE, _KNOWN = range(len(CAUSES))


@dataclass(frozen=True, slots=True)
class Split:
    """A change of cost and its causes, in USD, rounded to `digits` decimals; the causes add up to the change."""

    change: float
    digits: int
    causes: dict[str, float]


ByModel = Mapping[str, Composition]
"""What a week consisted of, by model."""


class _Model(NamedTuple):
    """One model in one week; what that week does not know, such as the price of a token that it never used, is absent.

    Attributes:
        calls: Its priced calls.
        shares: The parts of the input, by bucket, of 1.
        uses: The input of a call, all buckets together, and the quantity of everything else, by bucket.
        rates: USD for one of a bucket.
    """

    calls: float
    shares: Mapping[str, float]
    uses: Mapping[str, float]
    rates: Mapping[str, float]


_INPUT = "all input"


def split(now: ByModel, before: ByModel, cost: float, cost_before: float) -> Split:
    """Return the split of a change, for the two costs as they are printed, each rounded to the cent or finer.

    Args:
        now: What the week consisted of, by model.
        before: Likewise, the week before.
        cost: The cost of the week in USD.
        cost_before: The cost of the week before in USD.
    """
    digits = digits_for(max(cost, cost_before))
    change = _rounded(cost, digits) - _rounded(cost_before, digits)
    effects = _effects(now, before)
    # The rest is what doubles lose, and what the providers' own totals have beyond their parts.
    effects[_PRICE] += cost - cost_before - math.fsum(effects)
    return Split(float(change), digits, dict(zip(CAUSES, adding_up(effects, change, digits), strict=True)))


def adding_up(parts: list[float], whole: Decimal, digits: int) -> list[float]:
    """Return the parts, rounded so that they add up to the whole: those that lose most are rounded the other way."""
    unit = Decimal(1).scaleb(-digits)
    rounded = [_rounded(part, digits) for part in parts]
    missing = int((whole - sum(rounded)) / unit)
    step = unit if missing > 0 else -unit
    lost = [(Decimal(part) - each) * (1 if missing > 0 else -1) for part, each in zip(parts, rounded, strict=True)]
    order = sorted(range(len(parts)), key=lambda place: -lost[place])
    for number in range(abs(missing)):
        rounded[order[number % len(order)]] += step
    return [float(part) + 0.0 for part in rounded]  # no negative zero


def _rounded(amount: float, digits: int) -> Decimal:
    return Decimal(amount).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)


def _effects(now: ByModel, before: ByModel) -> list[float]:
    models = {
        name: (_model(before.get(name, Composition())), _model(now.get(name, Composition())))
        for name in {**before, **now}
    }
    calls = tuple(sum(one.calls for one in week.values()) for week in (before, now))
    priced = tuple(sum(one.priced for one in week.values()) for week in (before, now))

    def cost(changed: frozenset[int]) -> float:
        at = [cause in changed for cause in range(len(CAUSES))]
        volume = calls[at[_VOLUME]]
        known = _known(*(priced[which] / calls[which] if calls[which] else None for which in _order(at[_KNOWN])))
        per_call = 0.0
        for each in models.values():
            share = _known(
                *(each[which].calls / priced[which] if priced[which] else None for which in _order(at[_MIX]))
            )
            if share:
                per_call += share * _per_call(each, at)
        return volume * known * per_call

    known_costs: dict[frozenset[int], float] = {}
    places = range(len(CAUSES))
    effects = []
    for cause in places:
        others = [other for other in places if other != cause]
        effect = 0.0
        for size in range(len(others) + 1):
            weight = 1 / (len(CAUSES) * math.comb(len(others), size))
            for chosen in combinations(others, size):
                without = frozenset(chosen)
                for changed in (without, without | {cause}):
                    if changed not in known_costs:
                        known_costs[changed] = cost(changed)
                effect += weight * (known_costs[without | {cause}] - known_costs[without])
        effects.append(effect)
    return effects


def _model(one: Composition) -> _Model:
    inputs = {bucket: quantity for bucket, (quantity, _) in one.parts.items() if bucket in INPUT_BUCKETS}
    whole = math.fsum(inputs.values())
    uses = {bucket: quantity / one.priced for bucket, (quantity, _) in one.parts.items() if bucket not in INPUT_BUCKETS}
    if one.priced:
        uses[_INPUT] = whole / one.priced
    return _Model(
        one.priced,
        {bucket: quantity / whole for bucket, quantity in inputs.items()} if whole else {},
        uses,
        {bucket: cost / quantity for bucket, (quantity, cost) in one.parts.items() if quantity},
    )


def _per_call(each: tuple[_Model, _Model], at: list[bool]) -> float:
    """Return what one call of a model costs, with what is known of one week or the other."""
    uses = _of_week([one.uses if one.calls else None for one in each], at[_USE])
    shares = _of_week([one.shares or None for one in each], at[_CACHE])
    cost = 0.0
    for bucket, use in uses.items():
        if bucket == _INPUT:
            cost += use * math.fsum(share * _rate(each, name, at) for name, share in shares.items())
        else:
            cost += use * _rate(each, bucket, at)
    return cost


def _rate(each: tuple[_Model, _Model], bucket: str, at: list[bool]) -> float:
    return _known(*(each[which].rates.get(bucket) for which in _order(at[_PRICE])))


def _of_week(weeks: list[Mapping[str, float] | None], later: bool) -> Mapping[str, float]:
    return next((found for found in (weeks[which] for which in _order(later)) if found is not None), {})


def _order(later: bool) -> tuple[int, int]:
    return (1, 0) if later else (0, 1)


def _known(*values: float | None) -> float:
    """Return the first value that is known: what one week does not know is taken from the other, and so no cause."""
    return next((value for value in values if value is not None), 0.0)
