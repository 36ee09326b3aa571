"""The user's own prices: from a TOML file and from code, asked before the price table."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from genledger.pricing.price_rule import Rule, RuleError, Subject, rule
from genledger.shared.toml_file import TomlFileError, parse_toml, read_toml

_generations = count(1)
_lock = Lock()
_from_code: tuple[Rule, ...] = ()
_from_file: tuple[Rule, ...] = ()
generation = 0
"""Changes whenever a rule is added or removed, so that resolved prices can be forgotten."""

_HEADER = re.compile(r"^\s*\[\[\s*price\s*\]\]\s*(#.*)?$")


class PriceFileError(ValueError):
    """A price file with a mistake. The message names the file, the line and what was expected."""

    def __init__(self, path: str | Path, line: int | None, message: str) -> None:
        self.path = str(path)
        self.line = line
        super().__init__(f"{path}, line {line}: {message}" if line else f"{path}: {message}")


def find(subject: Subject) -> Rule | None:
    """The rule for a call: the newest from code, else the first in the file that matches."""
    return next((one for one in (*_from_code, *_from_file) if one.matches(subject)), None)


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
    above: int | None = None,
    per_million_above: Mapping[str, float] | None = None,
    factor: float | Mapping[str, float] | None = None,
    alias: str | None = None,
    alias_provider: str | None = None,
    free: bool | None = None,
    note: str | None = None,
) -> Callable[[], None]:
    """Set a price in code. It goes before the price file, and a later one before an earlier one.

    The fields are those of one `[[price]]` table of a price file (docs/pricing.md): names match exactly, as
    a glob, or as a regex between slashes, and may be lists; `per_million` is USD per million tokens by
    bucket, `per_unit` USD per unit. Returns a function that takes the price back. Raises `ValueError` for a
    price that cannot be right, with the field and what was expected.
    """
    row = {name: value for name, value in locals().items() if value is not None}
    added = rule(row)
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


def load_overrides(path: str | Path) -> tuple[Rule, ...]:
    """Read a price file.

    Raises `PriceFileError`, which names the file, the line and what was expected, when the file cannot be
    read, is not TOML, or has a price that cannot be right.
    """
    try:
        return _rules(*read_toml(path), path)
    except TomlFileError as error:
        raise PriceFileError(path, error.line, str(error)) from error


def parse(text: str, path: str | Path, *, supplement: bool = False) -> tuple[Rule, ...]:
    """The rules in the text of a price file; `path` is for messages."""
    try:
        return _rules(text, parse_toml(text), path, supplement=supplement)
    except TomlFileError as error:
        raise PriceFileError(path, error.line, str(error)) from error


def _rules(text: str, document: Mapping[str, Any], path: str | Path, *, supplement: bool = False) -> tuple[Rule, ...]:
    lines = text.splitlines()
    for key in document:
        if key != "price":
            raise PriceFileError(path, _line_of(lines, 0, key), f"`{key}` is not expected; prices are [[price]] tables")
    rows = document.get("price", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PriceFileError(path, _line_of(lines, 0, "price"), "write [[price]], with two brackets, above each price")
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    rules = []
    for position, row in enumerate(rows):
        try:
            start = starts[position] if position < len(starts) else 0
            rules.append(replace(rule(row, supplement=supplement), line=start + 1))
        except RuleError as error:
            raise PriceFileError(path, _line_of(lines, start, error.key), str(error)) from None
        except Exception as error:  # such as a value that is nested too deeply to be quoted
            raise PriceFileError(path, start + 1, f"cannot be understood: {type(error).__name__}: {error}") from error
    return tuple(rules)


def _line_of(lines: list[str], start: int, key: str) -> int:
    """The line, counted from 1, where a key stands in the table that begins at index `start`."""
    if key:
        here = re.compile(rf"(^|[\s{{,.\[\"'])({re.escape(key)})[\"']?\s*[\].=]")
        for number in range(start, len(lines)):
            if number > start and _HEADER.match(lines[number]):
                break
            if here.search(lines[number].split("#", 1)[0]):
                return number + 1
    return start + 1
