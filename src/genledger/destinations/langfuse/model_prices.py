"""Prices as Langfuse's model definitions, so that what it prices itself costs the same.

Langfuse matches definitions by the name of the model alone, and prices tokens alone.
https://langfuse.com/docs/observability/features/token-and-cost-tracking
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from genledger.destinations.langfuse.api_client import asking, configured_client
from genledger.pricing.price_rule import PriceRule, pattern
from genledger.pricing.quotes import quote
from genledger.pricing.rate_card import complete

_KEYS: Mapping[str, tuple[str, ...]] = {
    "input": ("input",),
    "cache_read": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens"),
    "cache_write": ("input_cache_creation", "input_cache_creation_5m", "cache_creation_input_tokens"),
    "cache_write_1h": ("input_cache_creation_1h",),
    "input_audio": ("input_audio_tokens",),
    "input_image": ("input_image_tokens",),
    "output": ("output",),
    "reasoning": ("output_reasoning_tokens", "output_reasoning"),
    "output_audio": ("output_audio_tokens",),
    "output_image": ("output_image_tokens",),
}
"""Langfuse's names of our buckets. A token under a name without a price is free there."""

_IDS = uuid.UUID("0b7c2b0e-6a53-4c1e-9d1f-6c9b8a0f2f57")

Bands = tuple[tuple[int, Mapping[str, float]], ...]
"""USD per token by bucket, for prompts of more tokens than the first of each."""


class Tier(NamedTuple):
    """Rates of a service tier, for prompts of more tokens than `above`."""

    service_tier: str | None
    above: int
    rates: Mapping[str, float]


@dataclass(frozen=True)
class Definition:
    """A model definition: the names it is for, as a regular expression, and its rates.

    Attributes:
        name: As Langfuse lists it.
        match: Regular expression of the models' names.
        start: First day in UTC on which it applies.
        tiers: The standard rates first.
    """

    name: str
    match: str
    start: date | None
    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Definitions:
    """What prices are as model definitions.

    Attributes:
        models: In the order of the prices.
        left_out: Why a price is none, by what it is for.
    """

    models: list[Definition]
    left_out: dict[str, str]


def definitions(rules: Iterable[PriceRule]) -> Definitions:
    """Return prices as model definitions. The first price of a name counts, and later ones add service tiers.

    Args:
        rules: The user's own prices, then the corrections of the price table.
    """
    found: dict[str, Definition] = {}
    left_out: dict[str, str] = {}
    today = datetime.now(UTC).date()
    for rule in rules:
        names = rule.model or rule.deployment or rule.profile
        if names is None or names == ("*",) or rule.region or rule.base_url:
            named = rule.base_url or rule.region or rule.provider or ("any",)
            left_out[", ".join(named)] = "Langfuse matches by the name of the model alone"
        elif rule.valid_until is None or rule.valid_until > today:
            for name in names:
                problem = _add(found, rule, name)
                if problem:
                    left_out[name] = problem
    return Definitions(list(found.values()), left_out)


def _add(found: dict[str, Definition], rule: PriceRule, name: str) -> str | None:
    """Add the price of one name. Return the reason why there is none."""
    match = _match(name)
    known = found.get(match)
    if known is not None and (rule.tier is None or any(tier.service_tier == rule.tier for tier in known.tiers)):
        return None
    bands = _bands(rule, name)
    if isinstance(bands, str):
        return bands
    tiers = tuple(Tier(rule.tier, max(above, 0), rates) for above, rates in bands)
    if known is None and rule.tier is not None:
        standard = _quoted(name, rule, None)
        if isinstance(standard, str):
            return f"only the tier {rule.tier} has a price"
        known = Definition(name, match, None, tuple(Tier(None, max(above, 0), rates) for above, rates in standard))
    found[match] = (
        Definition(name, match, rule.valid_from, tiers) if known is None else replace(known, tiers=known.tiers + tiers)
    )
    return None


def _bands(rule: PriceRule, name: str) -> Bands | str:
    if rule.free:
        return ((-1, complete({"input": 0.0, "output": 0.0})),)
    if not any(special in name for special in "*?/"):
        return _quoted(name, rule, rule.tier)
    if rule.alias is not None:
        bands = _quoted(rule.alias, rule, rule.tier)
        if isinstance(bands, str):
            return bands
        return tuple(
            (above, {bucket: rate * rule.factor_of(bucket) for bucket, rate in {**rates, **rule.rates}.items()})
            for above, rates in bands
        )
    if "input" in rule.rates:
        above = ((rule.above, complete({**rule.rates, **rule.rates_above})),) if rule.above is not None else ()
        return ((-1, complete(rule.rates)), *above)
    stem = name.removesuffix("*")
    if not any(special in stem for special in "*?/"):  # a name that it matches, too
        return _quoted(stem, rule, rule.tier)
    return "it has no price per token of its own, and names no single model"


def _quoted(name: str, rule: PriceRule, tier: str | None) -> Bands | str:
    provider = rule.alias_provider if rule.alias == name and rule.alias_provider else None
    found = quote(name, provider=provider or (rule.provider[0] if rule.provider else None), tier=tier)
    if isinstance(found, str):
        return f"it has no price: {found}"
    bands = tuple((band.above, band.rates) for band in found.bands)
    return bands if found.free or "input" in bands[0][1] else "it is not billed by tokens"


def _match(name: str) -> str:
    """Return the regular expression, as Langfuse takes it, of a name, a glob or an expression of a price."""
    expression = pattern(name).pattern
    whole = expression.removeprefix(r"\A").removesuffix(r"\Z")
    return f"(?i){expression}" if whole == expression else f"(?i)^{whole}$"


def push(models: Iterable[Definition], timeout_s: float = 30.0) -> str:
    """Write model definitions into the configured project; those of an earlier time are replaced.

    Returns:
        The server's address.

    Raises:
        LangfuseApiError: No project is configured, or the server refuses one.
    """
    base_url, client = configured_client(timeout_s)
    public_key = os.environ.get("LANGFUSE_PUBLIC_KEY", "")
    with asking(base_url):
        from langfuse.api import commons  # type: ignore[import-not-found, unused-ignore]

        for model in models:
            start = {} if model.start is None else {"start_date": datetime.combine(model.start, time(), UTC)}
            client.models.upsert(
                # Ids are unique in the whole server: that of another project is not ours to replace.
                str(uuid.uuid5(_IDS, f"{public_key}|{model.match}")),
                model_name=model.name,
                match_pattern=model.match,
                unit=commons.ModelUsageUnit.TOKENS,
                pricing_tiers=_tiers(model, commons),
                **start,
            )
    return base_url


def _tiers(model: Definition, commons: Any) -> list[Any]:
    standard, *others = model.tiers
    # The most specific first: of a tier and of long prompts, longest first.
    others.sort(key=lambda tier: (tier.service_tier is None, -tier.above))
    found = []
    for priority, tier in enumerate((standard, *others)):
        conditions: list[Any] = []
        if tier.service_tier is not None:
            conditions.append(
                commons.PricingTierAttributeCondition(
                    source=commons.PricingTierAttributeSource.MODEL_PARAMETERS,
                    key="service_tier",
                    values=[tier.service_tier],
                )
            )
        if tier.above:
            conditions.append(
                commons.PricingTierUsageConditionInput(
                    usage_detail_pattern="^input", operator=commons.PricingTierOperator.GT, value=tier.above
                )
            )
        name = " ".join(
            part for part in (tier.service_tier or "standard", f"above {tier.above}" if tier.above else "") if part
        )
        prices = {key: rate for bucket, rate in tier.rates.items() for key in _KEYS.get(bucket, ())}
        found.append(
            commons.PricingTierInput(
                name=name, is_default=priority == 0, priority=priority, conditions=conditions, prices=prices
            )
        )
    return found
