"""From names and a moment to rates: the user's prices, the price table, and what the table lacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

from genledger.pricing import names, price_file, table
from genledger.pricing.price_rule import PriceRule, Subject, SupplementFile, SupplementRow
from genledger.pricing.rate_card import Bands, Card, Rates, card
from genledger.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS, Usage
from genledger.shared.toml_table import read_table

_SUPPLEMENT = Path(__file__).with_name("supplement.toml")
_EPOCH = date(1970, 1, 1)

Day = tuple[tuple[int, Card], ...]
"""The rates of one day: (from this second of the day in UTC, rates), ascending from midnight."""


@lru_cache(maxsize=1)
def supplement() -> tuple[SupplementRow, ...]:
    """Return the reviewed rows that the price table lacks."""
    return tuple(read_table(_SUPPLEMENT, SupplementFile).price)


@lru_cache(maxsize=64)
def _supplement_of(providers: tuple[str, ...]) -> tuple[SupplementRow, ...]:
    """Return the reviewed rows that are about a provider under one of these names."""
    return tuple(row for row in supplement() if row.is_about(providers))


@dataclass(frozen=True, slots=True)
class _Priced:
    """Prices of one model on one day, from the table and its supplement."""

    segments: tuple[tuple[int, Bands], ...]
    notes: tuple[str, ...]
    table_date: str | None
    free: bool


def resolve(
    provider: str,
    model: str,
    tier: str | None,
    day: int,
    region: str | None,
    base_url: str | None,
    requested: str | None,
) -> Day | str:
    """Return the rates for one model on one day (days since 1970-01-01, UTC), or the reason why there are none."""
    when = _EPOCH + timedelta(days=day)
    canonical = (table.load().at_address(base_url) if base_url else None) or names.canonical_provider(provider)
    canonical, model = names.gateway_target(canonical, model)
    pinned, model = names.region_of_model(canonical, model)
    region = region or pinned or (names.region_of_host(base_url) if base_url else None)
    subject = _subject(provider, canonical, model, tier, when, region, base_url, requested)

    # People name the model that they ask for; the name of an Azure deployment is not a model's.
    asked = (requested,) if requested is not None and canonical != "azure" else ()
    rule = price_file.find(replace(subject, models=(*subject.models, *asked)))
    if rule is None:
        return _of_table(canonical, subject)
    if rule.free:
        return ((0, card(((-1, {}),), "override", notes=_note(rule), free=True)),)
    if rule.alias is None and rule.rates:
        return ((0, card(_scaled(_own_bands(rule), rule), "override", notes=_own_notes(rule, tier))),)
    return _of_rule(rule, canonical, subject)


def dearest(usage: Usage) -> float | None:
    """Return the highest known price of a usage in USD; `None` if it is empty or has a part without a price."""
    rates: Rates = {}
    for known in (table.load().dearest, *(row.rates for row in supplement())):
        for bucket, rate in known.items():
            rates[bucket] = max(rate, rates.get(bucket, 0.0))
    for buckets in (INPUT_BUCKETS, OUTPUT_BUCKETS):
        rates.update(dict.fromkeys(buckets, max(rates.get(bucket, 0.0) for bucket in buckets)))
    used = dict(usage.buckets())
    if not used or not used.keys() <= rates.keys():
        return None
    return sum(count * rates[bucket] for bucket, count in used.items())


def _subject(
    provider: str,
    canonical: str,
    model: str,
    tier: str | None,
    when: date,
    region: str | None,
    base_url: str | None,
    requested: str | None,
) -> Subject:
    asked = {requested or model, model}
    deployment = names.deployment_of_url(base_url) if base_url else None
    if deployment:
        asked.add(deployment)
    return Subject(
        providers=(provider,) if provider == canonical else (provider, canonical),
        models=tuple(dict.fromkeys(names.names_of_model(canonical, model))),
        requested=tuple(asked),
        base_url=base_url,
        tier=tier,
        region=region,
        day=when,
    )


def _of_table(canonical: str, subject: Subject) -> Day | str:
    priced = _priced(canonical, subject)
    if isinstance(priced, str):
        return priced
    return tuple(
        (
            second,
            card(bands, "table", table_date=priced.table_date, notes=priced.notes, free=priced.free),
        )
        for second, bands in priced.segments
    )


def _of_rule(rule: PriceRule, canonical: str, subject: Subject) -> Day | str:
    """Return a rule that builds on the table: an alias, a factor, or both, perhaps with rates of its own on top."""
    notes = _note(rule)
    if rule.alias is not None:
        canonical = _alias_provider(rule, canonical)
        models = tuple(dict.fromkeys(names.names_of_model(canonical, rule.alias)))
        subject = replace(subject, providers=(*subject.providers, canonical), models=models)
        notes = (*notes, f"alias:{rule.alias}")
    priced = _priced(canonical, subject)
    if isinstance(priced, str):
        return priced
    own = rule.rates or rule.factor
    return tuple(
        (
            second,
            card(
                _scaled(tuple((start, {**rates, **rule.rates}) for start, rates in bands), rule),
                "override" if own else "table",
                table_date=priced.table_date,
                notes=(*priced.notes, *notes),
                free=priced.free,
            ),
        )
        for second, bands in priced.segments
    )


def _alias_provider(rule: PriceRule, canonical: str) -> str:
    """Whose model the alias is: as written, else the call's own provider, else whose name it bears."""
    if rule.alias_provider is not None:
        return names.canonical_provider(rule.alias_provider)
    known = table.load().provider(canonical)
    alias = rule.alias or ""
    if known is not None and table.load().model(known, names.names_of_model(canonical, alias)) is not None:
        return canonical
    native = table.load().native(alias)
    return native.id if native is not None else canonical


def _own_bands(rule: PriceRule) -> Bands:
    base = dict(rule.rates)
    if rule.above is None:
        return ((-1, base),)
    return ((-1, base), (rule.above, {**base, **rule.rates_above}))


def _own_notes(rule: PriceRule, tier: str | None) -> tuple[str, ...]:
    unheeded = (f"tier_not_applied:{tier}",) if tier is not None and rule.tier is None else ()
    return _note(rule) + unheeded


def _note(rule: PriceRule) -> tuple[str, ...]:
    return (rule.note,) if rule.note else ()


def _scaled(bands: Bands, rule: PriceRule) -> Bands:
    if not rule.factor:
        return bands
    return tuple(
        (start, {bucket: rate * rule.factor_of(bucket) for bucket, rate in rates.items()}) for start, rates in bands
    )


def _priced(canonical: str, subject: Subject) -> _Priced | str:
    """Return the table's price with the supplement's rows folded in."""
    prices = table.load()
    rows = tuple(row for row in _supplement_of(subject.providers) if row.matches(subject))
    rated = any(row.prices_a_model for row in rows)
    if canonical == "aws" and any(names.of_own(name) for name in subject.models):
        return "unknown_model"
    provider = prices.provider(canonical)
    if provider is None and not rated:
        return "unknown_provider"
    model = prices.model(provider, subject.models) if provider is not None and any(subject.models) else None
    if model is None and not rated:
        return "unknown_model"

    holiday = next((row.off_peak_time for row in rows if row.off_peak(subject.day)), None)
    served: str | None = None
    segments: list[tuple[int, Bands]] = []
    if model is None:
        segments.append((0, ((-1, {}),)))
    else:
        for second in table.moments(model) if holiday is None else (0,):
            bands, served = table.price_at(model, subject.day, second if holiday is None else holiday, subject.tier)
            segments.append((second, bands))

    notes = [row.note for row in rows if row.note]
    if subject.base_url is not None and prices.at_address(subject.base_url) is None:
        notes.append(f"unknown_host:{names.host(subject.base_url)}")
    if holiday is not None:
        notes.append("off_peak_day")
    if served == "backdated":
        notes.append(f"tier_backdated:{subject.tier}")
    elif subject.tier is not None and served is None:
        if any(row.tier is not None for row in rows):
            served = "supplement"
        else:
            notes.append(f"tier_not_applied:{subject.tier}")
    notes += (f"region:{subject.region}" for row in rows if row.region is not None and row.factor)
    free = model is not None and not rated and not any(rates for _, bands in segments for _, rates in bands)
    folded = tuple((second, _folded(bands, rows, tier=served == "supplement")) for second, bands in segments)
    return _Priced(folded, tuple(notes), prices.date if model is not None else _reviewed(rows), free)


def _reviewed(rows: tuple[SupplementRow, ...]) -> str | None:
    """Return the day the rows that make a price were last checked."""
    return max((row.checked.isoformat() for row in rows), default=None)


def _folded(bands: Bands, rows: tuple[SupplementRow, ...], *, tier: bool) -> Bands:
    """Fill the gaps of the table's rates, then multiply.

    Rows for a tier count only where the table does not price that tier itself. Their rates replace standard
    ones; their factors multiply what they do not give a rate for.
    """
    rows = tuple(row for row in rows if row.tier is None or tier)
    starts = {start for start, _ in bands} | {row.above for row in rows if row.above is not None}
    result: list[tuple[int, Rates]] = []
    for start in sorted(starts):
        rates = dict(next(known for begin, known in reversed(bands) if start >= begin))
        of_tier: set[str] = set()
        for row in sorted(rows, key=lambda row: row.tier is not None):
            for bucket, rate in row.rates.items():
                if row.replaces or row.tier is not None or bucket not in rates:
                    rates[bucket] = rate
            if row.above is not None and start >= row.above:
                rates.update(row.rates_above)
            if row.tier is not None:
                of_tier.update(row.rates)
        for row in rows:
            for bucket in rates if row.factor else ():
                if row.tier is None or bucket not in of_tier:
                    rates[bucket] *= row.factor_of(bucket)
        result.append((start, rates))
    return tuple(result)
