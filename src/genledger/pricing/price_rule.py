"""Price rules: which calls a row is about, and what it says about their price.

One format serves the user's price file, `genledger.pricing.override` and the supplement to the price table
that ships with Genledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache

from genledger.pricing.getters import number
from genledger.pricing.names import canonical_provider
from genledger.pricing.usage import TOKEN_BUCKETS

UNITS = (
    "request",
    "second",
    "character",
    "image",
    "page",
    "annotated_page",
    "search_unit",
    "classification",
    "text_message",
    "citation_token",
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
)
"""What is billed by something else than tokens. `image_<quality>_<size>` is known too."""

_PRIMARY = frozenset({"request", "second", "character", "image", "page", "search"})
"""First words of the units that a model can be billed by instead of tokens; the others are its tools."""

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


Names = tuple[str, ...]
"""Patterns of which one must match."""


class RuleError(ValueError):
    """A rule that cannot be right: `key` is the field, the message says what was expected."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@lru_cache(maxsize=1024)
def pattern(value: str) -> re.Pattern[str]:
    """A pattern from how people write one: `/regex/`, a glob with `*` or `?`, else the exact name.

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


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. Fields left empty match everything.

    `rates` and `rates_above` are USD per token or unit, the latter for prompts of more than `above` tokens.
    `factor` multiplies buckets; the key `tokens` stands for every token bucket, `all` for everything.
    `off_peak_days` are charged all day at the rates of `off_peak_time`.
    """

    provider: Names | None = None
    model: Names | None = None
    deployment: Names | None = None
    profile: Names | None = None
    base_url: Names | None = None
    tier: str | None = None
    region: Names | None = None
    valid_from: date | None = None
    valid_until: date | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    above: int | None = None
    rates_above: Mapping[str, float] = field(default_factory=dict)
    factor: Mapping[str, float] = field(default_factory=dict)
    alias: str | None = None
    alias_provider: str | None = None
    free: bool = False
    replaces: bool = False
    note: str | None = None
    off_peak_days: frozenset[str] = frozenset()
    off_peak_time: int | None = None
    source: str | None = None
    checked: date | None = None
    line: int | None = None

    @property
    def prices_a_model(self) -> bool:
        """Whether the rates are enough to price calls of a model that nothing else is known about."""
        return any(bucket == "input" or bucket.split("_")[0] in _PRIMARY for bucket in self.rates)

    def is_about(self, providers: Names) -> bool:
        """Whether the row is about a provider of one of these names."""
        return _any(self.provider, providers)

    def matches(self, subject: Subject) -> bool:
        """Whether this row is about that call."""
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

    def factor_of(self, bucket: str) -> float:
        """What this row multiplies a bucket's rate by."""
        factor = self.factor
        if bucket in factor:
            return factor[bucket]
        if bucket in TOKEN_BUCKETS and "tokens" in factor:
            return factor["tokens"]
        return factor.get("all", 1.0)


def _any(wanted: Names | None, names: tuple[str, ...]) -> bool:
    return wanted is None or any(pattern(one).search(name) is not None for one in wanted for name in names)


def off_peak(rule: Rule, day: date) -> bool:
    """Whether the rule makes all of this day off-peak."""
    return day.isoformat() in rule.off_peak_days or _WEEKDAYS[day.weekday()] in rule.off_peak_days


# --- Parsing -----------------------------------------------------------------------------------------------


def _string(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise RuleError(key, f"`{key}` must be a non-empty string, not {_shown(value)}")
    return value


def _patterns(key: str, value: object) -> Names:
    """A pattern, or a list of them."""
    values = value if isinstance(value, (list, tuple)) and value else (value,)
    texts = tuple(_string(key, one) for one in values)
    for text in texts:
        try:
            pattern(text)
        except re.error as error:
            raise RuleError(key, f"`{key}` has an invalid regular expression: {error}") from None
    return texts


def _providers(key: str, value: object) -> Names:
    """Patterns of providers. A plain name stands for the provider under all its names."""
    texts = _patterns(key, value)
    return tuple(dict.fromkeys((*texts, *(canonical_provider(text) for text in texts))))


def _day(key: str, value: object) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise RuleError(key, f"`{key}` must be a date like 2026-11-21, not {_shown(value)}")


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RuleError(key, f"`{key}` must be true or false, not {_shown(value)}")
    return value


def _price(key: str, value: object) -> float:
    amount = number(value)
    if amount is None:
        raise RuleError(key, f"`{key}` must be a price in USD, zero or more, not {_shown(value)}")
    return amount


def _rates(allowed: Callable[[str], bool], hint: str, per: float) -> Callable[[str, object], dict[str, float]]:
    def parse(key: str, value: object) -> dict[str, float]:
        if not isinstance(value, Mapping) or not value:
            raise RuleError(key, f"`{key}` must be a table of prices, one of: {hint}")
        for name in value:
            if not allowed(str(name)):
                raise RuleError(str(name), f"`{name}` is not something `{key}` can price; expected one of: {hint}")
        return {str(name): _price(str(name), price) / per for name, price in value.items()}

    return parse


def _is_unit(name: str) -> bool:
    return name in UNITS or name.startswith("image_")


_per_million = _rates(TOKEN_BUCKETS.__contains__, ", ".join(TOKEN_BUCKETS), 1e6)
_per_unit = _rates(_is_unit, ", ".join(UNITS), 1.0)


def _factor(key: str, value: object) -> dict[str, float]:
    if not isinstance(value, Mapping):
        amount = number(value)
        if amount is None:
            raise RuleError(key, f"`{key}` must be a number, zero or more (0.85 pays 85 %), not {_shown(value)}")
        return {"all": amount}
    for name in value:
        if name not in ("all", "tokens", *TOKEN_BUCKETS) and not _is_unit(str(name)):
            raise RuleError(str(name), f"`{name}` is not a bucket; expected all, tokens, {', '.join(TOKEN_BUCKETS)}")
    return {str(name): _price(str(name), one) for name, one in value.items()}


def _tokens(key: str, value: object) -> int:
    if type(value) is not int or value <= 0:
        raise RuleError(key, f"`{key}` must be a number of tokens above zero, not {_shown(value)}")
    return value


def _days(key: str, value: object) -> frozenset[str]:
    """Weekdays, dates, and inclusive ranges `2026-10-01..2026-10-07`."""
    if not isinstance(value, list):
        raise RuleError(key, f"`{key}` must be a list of weekdays and dates")
    days: set[str] = set()
    for entry in value:
        if isinstance(entry, str) and entry.lower() in _WEEKDAYS:
            days.add(entry.lower())
            continue
        ends = entry.split("..") if isinstance(entry, str) else [entry]
        start, end = _day(key, ends[0]), _day(key, ends[-1])
        days.update((start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1))
    return frozenset(days)


def _time(key: str, value: object) -> int:
    try:
        hours, minutes = _string(key, value).split(":")
        return int(hours) * 3600 + int(minutes) * 60
    except ValueError:
        raise RuleError(key, f"`{key}` must be a time of day in UTC like 12:00, not {_shown(value)}") from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_PARSERS: dict[str, tuple[str, Callable[[str, object], object]]] = {
    "provider": ("provider", _providers),
    "model": ("model", _patterns),
    "deployment": ("deployment", _patterns),
    "profile": ("profile", _patterns),
    "base_url": ("base_url", _patterns),
    "region": ("region", _patterns),
    "tier": ("tier", _string),
    "valid_from": ("valid_from", _day),
    "valid_until": ("valid_until", _day),
    "per_million": ("rates", _per_million),
    "per_unit": ("rates", _per_unit),
    "above": ("above", _tokens),
    "per_million_above": ("rates_above", _per_million),
    "factor": ("factor", _factor),
    "alias": ("alias", _string),
    "alias_provider": ("alias_provider", _string),
    "free": ("free", _flag),
    "note": ("note", _string),
}
_SUPPLEMENT_PARSERS: dict[str, tuple[str, Callable[[str, object], object]]] = {
    "replaces": ("replaces", _flag),
    "off_peak_days": ("off_peak_days", _days),
    "off_peak_time": ("off_peak_time", _time),
    "source": ("source", _string),
    "checked": ("checked", _day),
}
_REVIEW = ("source", "checked")
_WHERE = ("provider", "model", "deployment", "profile", "base_url")
_WHAT = ("per_million", "per_unit", "factor", "alias", "free")


def rule(row: Mapping[str, object], *, supplement: bool = False) -> Rule:
    """A `Rule` from one table of a price file.

    Raises `RuleError`, which names the field and says what was expected.
    """
    parsers = {**_PARSERS, **_SUPPLEMENT_PARSERS} if supplement else _PARSERS
    values: dict[str, object] = {}
    rates: dict[str, float] = {}
    for key, value in row.items():
        if key not in parsers:
            raise RuleError(key, f"`{key}` is not a field of a price; expected one of: {', '.join(parsers)}")
        name, parse = parsers[key]
        parsed = parse(key, value)
        if name == "rates" and isinstance(parsed, dict):
            rates.update(parsed)
        else:
            values[name] = parsed
    if rates:
        values["rates"] = rates
    _check(row, supplement)
    return Rule(**values)  # type: ignore[arg-type]


def _check(row: Mapping[str, object], supplement: bool) -> None:
    if not any(key in row for key in _WHERE):
        raise RuleError("", f"a price needs at least one of {', '.join(_WHERE)} to say which calls it is for")
    if not supplement and not any(key in row for key in _WHAT):
        raise RuleError("", f"a price needs at least one of {', '.join(_WHAT)} to say what the calls cost")
    if supplement and not all(key in row for key in _REVIEW):
        raise RuleError("", "a supplementary price names its source and the day it was checked")
    if row.get("free") is True and any(key in row for key in _WHAT if key != "free"):
        raise RuleError("free", "`free` stands alone: a price that is free cannot have rates, a factor or an alias")
    if ("above" in row) != ("per_million_above" in row):
        raise RuleError("above", "`above` and `per_million_above` belong together")
    if "alias_provider" in row and "alias" not in row:
        raise RuleError("alias_provider", "`alias_provider` only makes sense with `alias`")
    start, end = row.get("valid_from"), row.get("valid_until")
    if start is not None and end is not None and _day("valid_from", start) >= _day("valid_until", end):
        raise RuleError(
            "valid_until", "`valid_until` is the first day without this price: it must be after `valid_from`"
        )
