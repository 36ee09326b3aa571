"""The user's own prices, from a TOML file and from code. They take precedence over the price table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import count
from pathlib import Path
from threading import Lock

from genledger.pricing.names import canonical_provider
from genledger.pricing.price_rule import PriceFile, PriceRule, Subject
from genledger.shared.toml_file import TomlFileError
from genledger.shared.toml_table import make, read_table

_generations = count(1)
_lock = Lock()
_from_code: tuple[PriceRule, ...] = ()
_from_file: tuple[PriceRule, ...] = ()
generation = 0
"""Changes whenever a rule is added or removed, so that resolved prices can be forgotten."""


class PriceFileError(TomlFileError):
    """A price file is invalid. The message names the file and the line of each mistake."""


def find(subject: Subject) -> PriceRule | None:
    """Return the rule for a call: the newest matching one from code, else the first in the file."""
    return next((one for one in (*_from_code, *_from_file) if one.matches(subject)), None)


def providers_of(model: str) -> list[str]:
    """Return the providers that own prices of a model are for, first to last; "" is any provider."""
    rules = [rule for rule in (*_from_code, *_from_file) if rule.names(model)]
    named = [canonical_provider(name) for rule in rules for name in rule.provider or ("",)]
    return list(dict.fromkeys(named))


def override(
    *,
    provider: str | Sequence[str] | None = None,
    model: str | Sequence[str] | None = None,
    deployment: str | Sequence[str] | None = None,
    profile: str | Sequence[str] | None = None,
    base_url: str | Sequence[str] | None = None,
    tier: str | None = None,
    region: str | Sequence[str] | None = None,
    valid_from: date | str | None = None,
    valid_until: date | str | None = None,
    per_million: Mapping[str, float] | None = None,
    per_unit: Mapping[str, float] | None = None,
    per_hour: float | None = None,
    above: int | None = None,
    per_million_above: Mapping[str, float] | None = None,
    factor: float | Mapping[str, float] | None = None,
    alias: str | None = None,
    alias_provider: str | None = None,
    free: bool | None = None,
    note: str | None = None,
) -> Callable[[], None]:
    """Set a price in code. It takes precedence over the price file, and a later one over an earlier one.

    The fields are those of one `[[price]]` table of a price file (docs/pricing.md): names match exactly, as
    a glob, or as a regex between slashes, and may be lists; `per_million` is USD per million tokens by
    bucket, `per_unit` USD per unit, `per_hour` USD per hour of the device that a model in this process keeps
    busy. Returns a function that removes the price. Raises `ValueError` for an
    invalid price, with the field and the expected value.
    """
    row = {name: value for name, value in locals().items() if value is not None}
    added = make(PriceRule, row, lambda mistakes: ValueError("; ".join(map(str, mistakes))))
    global _from_code
    with _lock:
        _from_code = (added, *_from_code)
        _forget()

    def remove() -> None:
        global _from_code
        with _lock:
            _from_code = tuple(one for one in _from_code if one is not added)
            _forget()

    return remove


def configure(path: str | Path | None) -> None:
    """Use the prices in this file, or none; prices set in code stay. Raises `PriceFileError`."""
    rules = load_overrides(path) if path is not None else ()
    global _from_file
    with _lock:
        _from_file = rules
        _forget()


def _forget() -> None:
    global generation
    generation = next(_generations)


def load_overrides(path: str | Path) -> tuple[PriceRule, ...]:
    """Read a price file.

    Raises:
        PriceFileError: The file cannot be read, is not TOML, or has invalid prices.
    """
    return tuple(read_table(path, PriceFile, PriceFileError).price)
