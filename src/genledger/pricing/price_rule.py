"""Price rules: which calls a row is about, and what it says about their price.

One format serves the user's price file, `genledger.pricing.override` and the supplement to the price table
that ships with Genledger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from genledger.pricing.getters import number
from genledger.pricing.names import canonical_provider
from genledger.pricing.usage import DEVICE_SECONDS, TOKEN_BUCKETS
from genledger.shared.text import quoted
from genledger.shared.toml_table import Table

UNITS = (
    "request",
    "second",
    "live_second",
    "character",
    "credit",
    "billable_unit",
    "image",
    "upscaled_image",
    "pixel",
    "megapixel",
    "video",
    "session",
    "page",
    "annotated_page",
    "search_unit",
    "classification",
    "text_message",
    "item",
    DEVICE_SECONDS,
    "citation_token",
    "guard_token",
    "cached_token_hour",
    "web_search",
    "web_search_preview",
    "x_search",
    "file_search",
    "maps_search",
    "code_session",
    "code_execution",
    "connector_web_search",
    "connector_web_search_premium",
    "connector_image_generation",
    "connector_code_interpreter",
    "guardrail_content",
    "guardrail_image",
    "guardrail_topic",
    "guardrail_sensitive_information",
    "guardrail_grounding",
    "guardrail_automated_reasoning",
)
"""What is billed by something else than tokens. `image_<quality>_<size>` and `<feature>_second` are known too."""

_PRIMARY = frozenset(
    {
        *("request", "second", "live", "character", "image", "upscaled", "megapixel", "video", "session", "page"),
        *("search", "guardrail", "item", "device"),
    }
)
"""First words of the units that a model can be billed by instead of tokens; the others are its tools."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@lru_cache(maxsize=1024)
def pattern(value: str) -> re.Pattern[str]:
    """Return a pattern from how people write one: `/regex/`, a glob with `*` or `?`, else the exact name.

    Case does not matter. A regex may match anywhere; a glob and a name match as a whole.
    """
    if len(value) > 2 and value.startswith("/") and value.endswith("/"):
        return re.compile(value[1:-1], re.IGNORECASE)
    glob = re.escape(value).replace(r"\*", ".*").replace(r"\?", ".")
    return re.compile(rf"\A{glob}\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Subject:
    """The names of one call that rules can match."""

    providers: tuple[str, ...]
    models: tuple[str, ...]
    requested: tuple[str, ...]
    base_url: str | None
    tier: str | None
    region: str | None
    day: date


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, (list, tuple)) and value else (value,)


def _pattern(text: str) -> str:
    if not text.strip():
        raise ValueError
    try:
        pattern(text)
    except re.error as error:
        raise ValueError(f"is not a valid regular expression: {error}") from None
    return text


def _all_names(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return a plain name stands for the provider under all its names."""
    return tuple(dict.fromkeys((*texts, *(canonical_provider(text) for text in texts))))


def _day(value: object) -> object:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    return value


def _amount(value: object) -> float:
    amount = number(value)
    if amount is None:
        raise ValueError(f"expected a number, zero or more, got {quoted(value)}")
    return amount


def _is_unit(name: str) -> bool:
    return name in UNITS or name.startswith("image_") or name.endswith("_second")


def _token_bucket(name: str) -> str:
    if name not in TOKEN_BUCKETS:
        raise ValueError(f"is not a kind of token; expected one of {', '.join(TOKEN_BUCKETS)}")
    return name


def _unit(name: str) -> str:
    if not _is_unit(name):
        raise ValueError(f"is not a unit; expected one of {', '.join(UNITS)}")
    return name


def _bucket(name: str) -> str:
    if name not in ("", "all", "tokens", *TOKEN_BUCKETS) and not _is_unit(name):
        raise ValueError(f"is not a bucket; expected all, tokens, a unit, or one of {', '.join(TOKEN_BUCKETS)}")
    return name


def _by_bucket(value: object) -> object:
    return value if isinstance(value, Mapping) else {"": value}


def _named(factor: dict[str, float]) -> dict[str, float]:
    return {name or "all": one for name, one in factor.items()}


def _days(value: object) -> frozenset[str]:
    """Weekdays, dates, and inclusive ranges `2026-10-01..2026-10-07`."""
    if not isinstance(value, list):
        raise ValueError
    days: set[str] = set()
    for entry in value:
        if isinstance(entry, str) and entry.lower() in _WEEKDAYS:
            days.add(entry.lower())
            continue
        start, end = (_day(one) for one in (entry.split("..") * 2 if isinstance(entry, str) else (entry, entry))[:2])
        if not isinstance(start, date) or not isinstance(end, date):
            raise ValueError
        days.update((start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1))
    return frozenset(days)


def _second(value: object) -> int:
    parts = re.fullmatch(r"(\d\d?):(\d\d)", value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError
    return int(parts[1]) * 3600 + int(parts[2]) * 60


Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(_listed)]
Day = Annotated[date, BeforeValidator(_day)]
Amount = Annotated[float, BeforeValidator(_amount)]
TokenRates = Annotated[dict[Annotated[str, AfterValidator(_token_bucket)], Amount], Field(min_length=1)]
UnitRates = Annotated[dict[Annotated[str, AfterValidator(_unit)], Amount], Field(min_length=1)]
Factors = Annotated[
    dict[Annotated[str, AfterValidator(_bucket)], Amount], BeforeValidator(_by_bucket), AfterValidator(_named)
]

_NAMES = "a name, a glob, a /regular expression/, or a list of them"
_DATE = "a date like 2026-11-21"
_WHERE = ("provider", "model", "deployment", "profile", "base_url")
_WHAT = ("per_million", "per_unit", "per_hour", "factor", "alias", "free")
_SECONDS_PER_HOUR = 3600


class PriceRule(Table):
    """One `[[price]]` table. Fields left empty match everything.

    `factor` multiplies buckets; the key `tokens` stands for every token bucket, `all` for everything.
    """

    provider: Annotated[Patterns, AfterValidator(_all_names)] | None = Field(None, description=_NAMES)
    model: Patterns | None = Field(None, description=_NAMES)
    deployment: Patterns | None = Field(None, description=_NAMES)
    profile: Patterns | None = Field(None, description=_NAMES)
    base_url: Patterns | None = Field(None, description=_NAMES)
    region: Patterns | None = Field(None, description=_NAMES)
    tier: Text | None = Field(None, description="the name of a service tier, such as batch")
    valid_from: Day | None = Field(None, description=_DATE)
    valid_until: Day | None = Field(None, description=_DATE)
    per_million: TokenRates = Field({}, description="USD per million tokens by kind, such as { input = 2.5 }")
    per_unit: UnitRates = Field({}, description="USD per unit, such as { web_search = 0.01 }")
    per_hour: Amount | None = Field(
        None, description="USD per hour of the device that a model in this process keeps busy"
    )
    above: Annotated[int, Field(gt=0)] | None = Field(None, description="a number of tokens above zero")
    per_million_above: TokenRates = Field({}, description="USD per million tokens by kind, such as { input = 5 }")
    factor: Factors = Field({}, description="a number, zero or more (0.85 pays 85 %), or one for each bucket")
    alias: Text | None = Field(None, description="the name of the model that it is priced as")
    alias_provider: Text | None = Field(None, description="the name of the provider of `alias`")
    free: bool = Field(False, description="true or false")
    note: Text | None = Field(None, description="a text")

    @classmethod
    def relations(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `Table`."""
        if not given.keys() & set(_WHERE):
            yield "", f"a price needs at least one of {', '.join(_WHERE)} to tell which calls it is for"
        yield from cls._content(given)
        if given.get("free") is True and given.keys() & set(_WHAT) - {"free"}:
            yield "free", "cannot be combined with rates, `factor` or `alias`"
        if ("above" in given) != ("per_million_above" in given):
            yield (
                ("above" if "above" in given else "per_million_above"),
                "goes together with " + ("per_million_above" if "above" in given else "above"),
            )
        if "alias_provider" in given and "alias" not in given:
            yield "alias_provider", "goes together with alias"

    @classmethod
    def _content(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if not given.keys() & set(_WHAT):
            yield "", f"a price needs at least one of {', '.join(_WHAT)} to tell what the calls cost"

    @field_validator("valid_until")
    @classmethod
    def _after_valid_from(cls, value: date | None, info: ValidationInfo) -> date | None:
        start = info.data.get("valid_from")
        if value is not None and start is not None and start >= value:
            raise ValueError("is the first day without this price: it must be after valid_from")
        return value

    @cached_property
    def rates(self) -> Mapping[str, float]:
        """Return USD per token or unit."""
        hourly = {} if self.per_hour is None else {DEVICE_SECONDS: self.per_hour / _SECONDS_PER_HOUR}
        return {bucket: usd / 1e6 for bucket, usd in self.per_million.items()} | hourly | self.per_unit

    @cached_property
    def rates_above(self) -> Mapping[str, float]:
        """Return USD per token for prompts of more than `above` tokens."""
        return {bucket: usd / 1e6 for bucket, usd in self.per_million_above.items()}

    @property
    def prices_a_model(self) -> bool:
        """Return whether the rates alone can price a model without other known prices; those of every model cannot."""
        return self.model != ("*",) and any(
            bucket == "input" or bucket.split("_")[0] in _PRIMARY for bucket in self.rates
        )

    def is_about(self, providers: tuple[str, ...]) -> bool:
        """Return whether the row applies to a provider of one of these names."""
        return _any(self.provider, providers)

    def matches(self, subject: Subject) -> bool:
        """Return whether this row applies to the call."""
        if self.tier is not None and self.tier != subject.tier:
            return False
        if self.valid_from is not None and subject.day < self.valid_from:
            return False
        if self.valid_until is not None and subject.day >= self.valid_until:
            return False
        requested = subject.requested
        return (
            self.is_about(subject.providers)
            and _any(self.model, subject.models)
            and _any(self.deployment, requested)
            and _any(self.profile, tuple(name for name in requested if name.startswith("arn:")))
            and _any(self.base_url, (subject.base_url,) if subject.base_url else ())
            and _any(self.region, (subject.region,) if subject.region else ())
        )

    def names(self, name: str) -> bool:
        """Return whether it names a model, deployment or profile, and this is one of them."""
        given = [wanted for wanted in (self.model, self.deployment, self.profile) if wanted is not None]
        return bool(given) and all(_any(wanted, (name,)) for wanted in given)

    def factor_of(self, bucket: str) -> float:
        """Return the factor that this row applies to a bucket's rate."""
        factor = self.factor
        if bucket in factor:
            return factor[bucket]
        if bucket in TOKEN_BUCKETS and "tokens" in factor:
            return factor["tokens"]
        return factor.get("all", 1.0)


class SupplementRow(PriceRule):
    """One row of the supplement: a price, where it is stated and when that was checked.

    `replaces` puts it over the table's rate; `off_peak_days` are charged all day at the rates of `off_peak_time`,
    a second of the day in UTC.
    """

    replaces: bool = Field(False, description="true or false")
    off_peak_days: Annotated[frozenset[str], BeforeValidator(_days)] = Field(
        frozenset(), description="a list of weekdays, dates and ranges of dates"
    )
    off_peak_time: Annotated[int, BeforeValidator(_second)] | None = Field(
        None, description="a time of day in UTC like 12:00"
    )
    source: Text = Field(description="the page that states the price")
    checked: Day = Field(description="the day on which the row was compared with the page")

    @classmethod
    def _content(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        return iter(())

    def off_peak(self, day: date) -> bool:
        """Return whether all of this day is off-peak."""
        return day.isoformat() in self.off_peak_days or _WEEKDAYS[day.weekday()] in self.off_peak_days


class PriceFile(Table):
    """A file of prices."""

    price: list[PriceRule] = Field([], description="[[price]] tables, with two brackets")


class SupplementFile(Table):
    """The supplement to the price table."""

    price: list[SupplementRow]


def _any(wanted: tuple[str, ...] | None, names: tuple[str, ...]) -> bool:
    return wanted is None or any(pattern(one).search(name) is not None for one in wanted for name in names)
