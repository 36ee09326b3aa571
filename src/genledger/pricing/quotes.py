"""Rates of a model at a given time, for display."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from genledger.pricing import price_file, table
from genledger.pricing.calculate import at_second
from genledger.pricing.cost import CostSource
from genledger.pricing.lookup import resolve
from genledger.pricing.names import canonical_provider
from genledger.pricing.price_rule import PriceRule

ANY_PROVIDER = "any provider"
"""Provider of a quote from an own price that names none."""


@dataclass(frozen=True, slots=True)
class Band:
    """Rates for prompts of more than `above` tokens, in USD per token or unit by bucket."""

    above: int
    rates: dict[str, float]


@dataclass(frozen=True, slots=True)
class Quote:
    """Rates of one model at one provider and time, with their source.

    The first band is for every prompt, later ones for longer prompts. A model that is known to be free has no
    rates.
    """

    provider: str
    model: str
    at: datetime
    tier: str | None
    region: str | None
    source: CostSource
    table_date: str | None
    notes: tuple[str, ...]
    free: bool
    bands: tuple[Band, ...]


def quote(
    model: str,
    *,
    provider: str | None = None,
    at: datetime | None = None,
    tier: str | None = None,
    region: str | None = None,
) -> Quote | str:
    """Return the rates of a model, or the reason why there are none: `unknown_model` or `unknown_provider`.

    Without a `provider` it is the one whose own model the name is, else the first that the user's own prices of the
    model are for; `notes` has the others of these. `at` is now by default; a time without a zone is UTC.
    """
    others: list[str] = []
    if provider is None:
        native, own = table.load().native(model), price_file.providers_of(model)
        if native is None and not own:
            return "unknown_provider"
        provider = native.id if native is not None else own[0] or ANY_PROVIDER
        others = [name for name in own if name not in ("", canonical_provider(provider))]
    moment = (datetime.now(UTC) if at is None else at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    day, second = divmod(int(moment.timestamp()), 86_400)
    found = resolve(provider, model, tier, day, region, None, None)
    if isinstance(found, str):
        return found
    card = at_second(found, second)
    return Quote(
        provider=canonical_provider(provider),
        model=model,
        at=moment,
        tier=tier,
        region=region,
        source=card.source,
        table_date=card.table_date,
        notes=(*card.notes, *(f"own_price_at:{name}" for name in others)),
        free=card.free,
        bands=tuple(Band(max(start, 0), rates) for start, rates in card.bands),
    )


def unknown_aliases(rules: tuple[PriceRule, ...]) -> list[int]:
    """Return the indexes of price rules whose alias is not in the table."""
    return [
        place
        for place, rule in enumerate(rules)
        if rule.alias is not None and isinstance(quote(rule.alias, provider=_alias_home(rule)), str)
    ]


def _alias_home(rule: PriceRule) -> str | None:
    """Where to look an alias up: as written, or at the only provider the rule is about, if it sells models."""
    if rule.alias_provider is not None:
        return rule.alias_provider
    if rule.provider is not None and len(rule.provider) == 1:
        home = canonical_provider(rule.provider[0])
        if table.load().provider(home) is not None:
            return home
    return "aws" if rule.profile is not None else None
