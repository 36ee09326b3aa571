"""The price table: genai-prices, behind this adapter and nowhere else.

The library is imported when the first price is asked for. Its own look-up caches have no bound, so models are
matched on its providers directly and the results are kept by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from genledger.pricing import table_update
from genledger.pricing.extensions import is_name_of
from genledger.pricing.names import provider_of_host
from genledger.pricing.providers import providers as known_providers
from genledger.pricing.rate_card import Bands, Rates
from genledger.shared.private_attributes import read_price_table

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, Provider

_BUCKETS: dict[str, tuple[str, int]] = {
    "input_mtok": ("input", 1_000_000),
    "output_mtok": ("output", 1_000_000),
    "cache_read_mtok": ("cache_read", 1_000_000),
    "cache_write_mtok": ("cache_write", 1_000_000),
    "cache_write_5m_mtok": ("cache_write", 1_000_000),
    "cache_write_1h_mtok": ("cache_write_1h", 1_000_000),
    "input_audio_mtok": ("input_audio", 1_000_000),
    "output_audio_mtok": ("output_audio", 1_000_000),
    "cache_audio_read_mtok": ("cache_read_audio", 1_000_000),
    "input_image_mtok": ("input_image", 1_000_000),
    "output_image_mtok": ("output_image", 1_000_000),
    "cache_image_read_mtok": ("cache_read_image", 1_000_000),
    "output_reasoning_mtok": ("reasoning", 1_000_000),
    "output_citation_mtok": ("citation_token", 1_000_000),
    "input_mchars": ("character", 1_000_000),
    "audio_hours": ("second", 3600),
    "input_audio_hours": ("second", 3600),
    "input_document_kpages": ("page", 1000),
    "input_annotated_document_kpages": ("annotated_page", 1000),
    "input_text_messages_kcount": ("text_message", 1000),
    "rerank_searches_kcount": ("search_unit", 1000),
    "web_searches_kcount": ("web_search", 1000),
    "social_searches_kcount": ("x_search", 1000),
    "storage_searches_kcount": ("file_search", 1000),
    "code_executions_kcount": ("code_execution", 1000),
    "requests_kcount": ("request", 1000),
}
"""The table's price keys: our bucket, and how many of it the price is for."""

_DATE = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")


class Table:
    """Providers, their models and dated prices, with the date the table is from."""

    def __init__(self, providers: list[Provider], table_date: str) -> None:
        self.providers = providers
        self.date = table_date
        self._by_id = {_squashed(provider.id): provider for provider in providers}

    def provider(self, name: str) -> Provider | None:
        """Return the provider of this very name, punctuation aside. Resemblance is not enough to send a bill."""
        return self._by_id.get(_squashed(known_providers().tables.get(name, name)))

    def at_address(self, base_url: str) -> str | None:
        """Return the provider at a base URL, if it has prices."""
        known = provider_of_host(base_url)
        if known is not None:
            return known
        return next((p.id for p in self.providers if re.match(p.api_pattern, base_url)), None)

    def model(self, provider: Provider, names: Iterable[str]) -> ModelInfo | None:
        """Return the first model that one of the names matches, and does not merely extend."""
        for name in names:
            found = provider.find_model(name, all_providers=self.providers)
            if found is not None and is_name_of(found, name):
                return found
        return None

    @cached_property
    def dearest(self) -> Rates:
        """Return the highest rate of any model at any time, by bucket."""
        highest: Rates = {}
        for provider in self.providers:
            for model in provider.models:
                dated = model.prices if isinstance(model.prices, list) else ()
                plain = () if dated else (model.prices,)
                for price in (*plain, *(of.prices for of in (*dated, *(model.price_variants or ())))):
                    for _, rates in bands(price):
                        for bucket, rate in rates.items():
                            highest[bucket] = max(rate, highest.get(bucket, 0.0))
        return highest

    def native(self, model: str) -> Provider | None:
        """Return the provider whose own name pattern a model fits."""
        name = model.lower()
        return next((p for p in self.providers if p.model_match is not None and p.model_match.is_match(name)), None)


def _squashed(name: str) -> str:
    return re.sub(r"[-_. ]", "", name.lower())


@lru_cache(maxsize=1)
def load() -> Table:
    """Return the table in use: the newer of the installed one and the one that `genledger prices update` stored.

    The installed one is newer if it mentions a day after the other was fetched, and the other does not: a day that
    both mention was announced.
    """
    from genai_prices.data import providers

    days = _days(providers)
    installed = Table(providers, max(days, default=""))
    stored = table_update.read()
    if stored is None:
        return installed
    try:
        fetched = Table(read_price_table(stored.providers), stored.fetched)
    except Exception as error:
        table_update.complain(error)
        return installed
    return installed if any(day > stored.fetched for day in days - _days(fetched.providers)) else fetched


def _days(providers: Iterable[Provider]) -> set[str]:
    """Return the days, not after today, that a table mentions."""
    today = datetime.now(UTC).date().isoformat()
    return {day for provider in providers for day in _dates(provider) if day <= today}


def _dates(provider: Provider) -> Iterator[str]:
    yield from _DATE.findall(provider.price_comments or "")
    for model in provider.models:
        yield from _DATE.findall(model.price_comments or "")
        for price in model.prices if isinstance(model.prices, list) else ():
            start = getattr(price.constraint, "start_date", None)
            if isinstance(start, date):
                yield start.isoformat()


def bands(price: ModelPrice) -> Bands:
    """Return a published price as rates by prompt size."""
    listed = [(*_BUCKETS[key], value) for key, value in vars(price).items() if key in _BUCKETS and value is not None]
    starts = {-1}
    for _, _, value in listed:
        starts.update(tier.start for tier in getattr(value, "tiers", ()))

    def at(start: int) -> Rates:
        rates: Rates = {}
        for bucket, per, value in listed:
            chosen = getattr(value, "base", value)
            for tier in getattr(value, "tiers", ()):
                if start >= tier.start:
                    chosen = tier.price
            rates[bucket] = float(chosen / per)
        return rates

    return tuple((start, at(start)) for start in sorted(starts))


def at_prompt(priced: Bands, start: int) -> Rates:
    """Return the rates of the band that holds prompts just above `start` tokens."""
    return next(rates for begin, rates in reversed(priced) if start >= begin)


def moments(model: ModelInfo) -> list[int]:
    """Return the seconds of the day at which a model's price may change; always at least midnight."""
    seconds = {0}
    for priced in (*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ())):
        for edge in ("start_time", "end_time"):
            time = getattr(priced.constraint, edge, None)
            if time is not None:
                seconds.add(time.hour * 3600 + time.minute * 60 + time.second)
    return sorted(seconds)


def price_at(model: ModelInfo, day: date, second: int, tier: str | None) -> tuple[Bands, str | None]:
    """Return the rates of a model at one moment (UTC), and how the tier was served.

    `applied`: the table prices this tier then. `backdated`: it only does from a later day on, when the rates
    were first checked; the proportion of that day is applied to the earlier standard rates, because providers
    introduced these tiers long before. `None`: standard rates, whatever the tier.
    """
    when = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=second)
    standard = bands(model.get_prices(when))
    if tier is None:
        return standard, None
    context = _context(tier)
    variants = [v for v in model.price_variants or () if all(context.get(k) == value for k, value in v.when.items())]
    if any(v.constraint is None or v.constraint.active(when) for v in variants):
        return bands(model.get_prices(when, context)), "applied"
    first = _first_start(variants)
    if first is None or first <= day:
        return standard, None
    then = datetime(first.year, first.month, first.day, tzinfo=UTC)
    before = bands(model.get_prices(then))
    after = bands(model.get_prices(then, context))
    return _in_proportion(standard, before, after), "backdated"


def _context(tier: str) -> dict[str, str]:
    if tier == "batch":
        return {"processing": "batch"}
    return {"service_tier": tier, "speed": "fast"} if tier == "fast" else {"service_tier": tier}


def _first_start(variants: Iterable[PriceVariant]) -> date | None:
    starts = [getattr(variant.constraint, "start_date", None) for variant in variants]
    return min((start for start in starts if isinstance(start, date)), default=None)


def _in_proportion(standard: Bands, before: Bands, after: Bands) -> Bands:
    def scaled(start: int, rates: Rates) -> Rates:
        old, new = at_prompt(before, start), at_prompt(after, start)
        return {
            bucket: rate * new[bucket] / old[bucket] if old.get(bucket) and bucket in new else rate
            for bucket, rate in rates.items()
        }

    return tuple((start, scaled(start, rates)) for start, rates in standard)
