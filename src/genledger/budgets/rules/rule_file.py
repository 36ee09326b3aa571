"""Rules in a TOML file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from genledger.budgets.rules.model_routing import Route, route
from genledger.budgets.rules.rule import Rule, RuleError, budget, unknown_key
from genledger.shared.toml_file import TomlFileError, read_toml

T = TypeVar("T")


class RuleFileError(ValueError):
    """A rule file cannot be read. The message begins with the file and, where one is to blame, the line."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """Everything that a rule file can say.

    `store` is a URL for `open_store`, `alerts` are URLs for the notification library, `tenants` maps tenants to
    plan tiers.
    """

    rules: tuple[Rule, ...] = ()
    routes: tuple[Route, ...] = ()
    default_tier: str | None = None
    tenants: Mapping[str, str] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    store: str | None = None


_KEYS = ("store", "tiers", "alerts", "budget", "route")


def read_rules(path: str | os.PathLike[str]) -> Rulebook:
    """Read a rule file; docs/budgets.md describes it.

    Raises:
        RuleFileError: It is not there, not TOML, or says something that makes no sense.
    """
    shown = os.fspath(path)
    try:
        text, data = read_toml(path, parse_float=Decimal)
    except TomlFileError as error:
        raise RuleFileError(f"{shown}{f':{error.line}' if error.line else ''}: {error}") from error
    try:
        return _book(data)
    except _Misplaced as misplaced:
        line_number = _line(text, misplaced.table, misplaced.index, misplaced.error.key)
        raise RuleFileError(f"{shown}:{line_number}: {misplaced.error}") from misplaced.error
    except Exception as error:  # such as a value that is nested too deeply to be quoted
        raise RuleFileError(f"{shown}: cannot be understood: {type(error).__name__}: {error}") from error


class _Misplaced(Exception):
    """An error, with the table that it is in: the nth `[[table]]`, or `[table]`, or the top of the file."""

    def __init__(self, error: RuleError, table: str = "", index: int = 0) -> None:
        self.error, self.table, self.index = error, table, index


def _book(data: Mapping[str, Any]) -> Rulebook:
    for key in data:
        if key not in _KEYS:
            raise _Misplaced(unknown_key(key, _KEYS))
    rules = _tables(data, "budget", budget)
    names: set[str] = set()
    for index, rule in enumerate(rules):
        if rule.name in names:
            raise _Misplaced(
                RuleError("name", f"there is another budget {rule.name!r}; give one a name of its own"),
                "budget",
                index,
            )
        names.add(rule.name)
    default, tenants = _tiers(data.get("tiers", {}))
    store = data.get("store")
    if store is not None and not isinstance(store, str):
        raise _Misplaced(RuleError("store", f"expected a URL, got {store!r}"))
    return Rulebook(
        tuple(rules),
        tuple(_tables(data, "route", route)),
        default,
        tenants,
        _alerts(data.get("alerts", {})),
        store,
    )


def _tables(data: Mapping[str, Any], name: str, make: Callable[..., T]) -> Sequence[T]:
    tables = data.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _Misplaced(RuleError(name, f"expected [[{name}]] tables"))
    made = []
    for index, table in enumerate(tables):
        try:
            made.append(make(**table))
        except RuleError as error:
            raise _Misplaced(error, name, index) from error
    return made


def _tiers(table: object) -> tuple[str | None, Mapping[str, str]]:
    if not isinstance(table, dict):
        raise _Misplaced(RuleError("tiers", "expected a [tiers] table"))
    for key in table:
        if key not in ("default", "tenants"):
            raise _Misplaced(unknown_key(key, ("default", "tenants")), "tiers")
    default, tenants = table.get("default"), table.get("tenants", {})
    if default is not None and not isinstance(default, str):
        raise _Misplaced(RuleError("default", f"expected the name of a tier, got {default!r}"), "tiers")
    if not isinstance(tenants, dict):
        raise _Misplaced(RuleError("tenants", f'expected tenant = "tier" pairs, got {tenants!r}'), "tiers")
    for tenant, tier in tenants.items():
        if not isinstance(tier, str):
            raise _Misplaced(RuleError(tenant, f"expected the name of a tier, got {tier!r}"), "tiers.tenants")
    return default, tenants


def _alerts(table: object) -> tuple[str, ...]:
    if not isinstance(table, dict):
        raise _Misplaced(RuleError("alerts", "expected an [alerts] table"))
    for key in table:
        if key != "to":
            raise _Misplaced(unknown_key(key, ("to",)), "alerts")
    to = table.get("to", [])
    if not isinstance(to, list) or not all(isinstance(url, str) and "://" in url for url in to):
        raise _Misplaced(RuleError("to", "expected a list of notification URLs, each with a scheme"), "alerts")
    return tuple(to)


def _line(text: str, table: str, index: int, key: str) -> int:
    """The line of a key in a table, else of the table's header, else the first."""
    header = re.compile(rf"\s*\[\[?\s*{re.escape(table)}\s*\]\]?")
    wanted = [re.compile(rf"\s*['\"]?{re.escape(part)}['\"]?\s*[.=]") for part in (key, key.split(".")[0])]
    inside = not table
    seen = -1
    best = 1
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            if inside:
                break
            if header.match(line):
                seen += 1
                inside = seen == index
                if inside:
                    best = number
        elif inside and any(pattern.match(line) for pattern in wanted):
            return number
    return best
