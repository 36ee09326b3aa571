"""Which calls a rule, a route or a kill switch applies to."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from genledger.budgets.enforcement.request import BudgetRequest
from genledger.shared.text import bounded

ScopeField = Literal["tenant", "feature", "user", "session", "model", "api_key", "run"]
"""What a scope can name."""

FIELDS: tuple[ScopeField, ...] = get_args(ScopeField)
EACH = "each"
"""The pattern that gives every value a counter of its own."""

ORGANIZATION = "organization"
"""The scope of a rule that names no field: every call."""

PATHS: Mapping[ScopeField, str] = {
    "tenant": "attribution.tenant",
    "feature": "attribution.feature",
    "user": "attribution.user",
    "session": "attribution.session",
    "model": "model",
    "api_key": "api_key",
    "run": "run",
}
"""Where a `BudgetRequest` keeps each field."""


class RuleError(ValueError):
    """A rule cannot be used. `key` is the one to look at; the message names every mistake and what was expected."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key


def scope_part(field: str, value: str) -> str:
    """One field of a scope, such as `tenant=acme`."""
    value = bounded(value)
    # Quoted where it could be mistaken for several fields: two scopes never share a counter.
    plain = value.isprintable() and " " not in value and '"' not in value
    return f"{field}={value if plain else json.dumps(value, ensure_ascii=not value.isprintable())}"


class Scope:
    """Which calls something applies to: a pattern for each field named, all of which must match.

    A pattern is a value, a glob (`gpt-5*`), or `each`. A call that does not have a named field never matches.
    """

    __slots__ = ("_globs", "patterns")

    def __init__(self, patterns: Mapping[ScopeField, str]) -> None:
        self.patterns = {field: patterns[field] for field in FIELDS if field in patterns}
        self._globs = {
            field: re.compile(fnmatch.translate(pattern))
            for field, pattern in self.patterns.items()
            if any(character in pattern for character in "*?[")
        }

    def label(self, values: Mapping[ScopeField, str | None]) -> str | None:
        """Return the name of the counter for a call with these values, such as `tenant=acme`; `None` if none applies.

        A glob has one counter for everything that it matches, `each` one for every value.
        """
        parts = []
        for field, pattern in self.patterns.items():
            value = values.get(field)
            if value is None:
                return None
            if pattern == EACH:
                parts.append(scope_part(field, value))
                continue
            glob = self._globs.get(field)
            if not (value == pattern if glob is None else glob.match(value)):
                return None
            parts.append(f"{field}={pattern}")
        return " ".join(parts) or ORGANIZATION

    def __str__(self) -> str:
        return " ".join(f"{field}={pattern}" for field, pattern in self.patterns.items()) or ORGANIZATION

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(tuple(self.patterns.items()))


def values_of(request: BudgetRequest) -> dict[ScopeField, str | None]:
    """Return a call's value of each scope field."""
    who = request.attribution
    return {
        "tenant": who.tenant,
        "feature": who.feature,
        "user": who.user,
        "session": who.session,
        "model": request.model,
        "api_key": request.api_key,
        "run": request.run,
    }


def read_scope(fields: Mapping[str, Any]) -> Scope:
    """Return the scope that the keys named in `FIELDS` describe."""
    patterns: dict[ScopeField, str] = {}
    for field in FIELDS:
        if field in fields:
            if not isinstance(fields[field], str) or not fields[field]:
                raise RuleError(field, f"expected a value, a glob or {EACH!r}, got {fields[field]!r}")
            patterns[field] = bounded(fields[field])
    return Scope(patterns)
