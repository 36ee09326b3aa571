"""What a budget rule says, and which calls it applies to."""

from __future__ import annotations

import difflib
import fnmatch
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast, get_args

from genledger.budgets.enforcement.request import BudgetRequest
from genledger.budgets.rules.units import Measure, to_units
from genledger.budgets.rules.windows import EXPECTED, Window
from genledger.shared.text import bounded

Field = Literal["tenant", "feature", "user", "session", "model", "api_key", "run"]
"""What a scope can name."""

AtLimit = Literal["block", "degrade", "queue", "warn"]
StoreDownPolicy = Literal["open", "closed", "lease"]
CrashPolicy = Literal["release", "spend"]
UnpricedPolicy = Literal["allow", "block"]

FIELDS: tuple[Field, ...] = get_args(Field)
MEASURES: tuple[Measure, ...] = get_args(Measure)
EACH = "each"
"""The pattern that gives every value a counter of its own."""

ORGANISATION = "organisation"
"""The scope of a rule that names no field: every call."""

PATHS: Mapping[Field, str] = {
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
    """A rule cannot be understood. `key` is the one to look at; the message says what was expected."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


def scope_part(field: str, value: str) -> str:
    """One field of a scope, such as `tenant=acme`."""
    value = bounded(value)
    # Quoted where it could be mistaken for several fields: two scopes never share a counter.
    plain = value.isprintable() and " " not in value and '"' not in value
    return f"{field}={value if plain else json.dumps(value)}"


class Scope:
    """Which calls something applies to: a pattern for each field named, all of which must match.

    A pattern is a value, a glob (`gpt-5*`), or `each`. A call that does not have a named field never matches.
    """

    __slots__ = ("_globs", "patterns")

    def __init__(self, patterns: Mapping[Field, str]) -> None:
        self.patterns = {field: patterns[field] for field in FIELDS if field in patterns}
        self._globs = {
            field: re.compile(fnmatch.translate(pattern))
            for field, pattern in self.patterns.items()
            if any(character in pattern for character in "*?[")
        }

    def label(self, values: Mapping[Field, str | None]) -> str | None:
        """The name of the counter for a call with these values, such as `tenant=acme`; `None` if none applies.

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
        return " ".join(parts) or ORGANISATION

    def __str__(self) -> str:
        return " ".join(f"{field}={pattern}" for field, pattern in self.patterns.items()) or ORGANISATION

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scope) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(tuple(self.patterns.items()))


def values_of(request: BudgetRequest) -> dict[Field, str | None]:
    """What a call has in each of the fields that scopes name."""
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


@dataclass(frozen=True, slots=True)
class Rule:
    """One budget, rate limit or loop cap; made by `budget()`.

    `limits` holds one limit in units (see `amounts`) by plan tier, or a single one under the empty name.
    """

    name: str
    scope: Scope
    measure: Measure
    limits: Mapping[str, int]
    window: Window
    alert_at: tuple[int, ...] = (50, 80, 100)
    at_limit: AtLimit = "block"
    degraded_model: str | None = None
    degraded_tokens: int | None = None
    queue_seconds: float = 0.0
    on_store_down: StoreDownPolicy = "lease"
    on_crash: CrashPolicy = "release"
    unpriced: UnpricedPolicy = "allow"

    @property
    def tiered(self) -> bool:
        """Whether the limit depends on the tenant's plan tier."""
        return "" not in self.limits

    def limit(self, tier: str | None) -> int:
        """The limit for a tier; a tier that the rule does not name gets the smallest of its limits."""
        single = self.limits.get("")
        if single is not None:
            return single
        return self.limits[tier] if tier is not None and tier in self.limits else min(self.limits.values())


_SETTINGS = (
    "name",
    "per",
    "timezone",
    "alert_at",
    "at_limit",
    "degrade",
    "queue_seconds",
    "on_store_down",
    "on_crash",
    "unpriced",
)


def unknown_key(key: str, known: tuple[str, ...]) -> RuleError:
    """The error for a key that means nothing, with the one that was probably meant."""
    close = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"expected one of {', '.join(known)}"
    return RuleError(key, f"is not a known key; {hint}")


def read_scope(fields: Mapping[str, Any]) -> Scope:
    """The scope that the keys named in `FIELDS` describe."""
    patterns: dict[Field, str] = {}
    for field in FIELDS:
        if field in fields:
            if not isinstance(fields[field], str) or not fields[field]:
                raise RuleError(field, f"expected a value, a glob or {EACH!r}, got {fields[field]!r}")
            patterns[field] = bounded(fields[field])
    return Scope(patterns)


def _choice(fields: Mapping[str, Any], key: str, alias: Any, default: str) -> Any:
    value = fields.get(key, default)
    if value not in get_args(alias):
        raise RuleError(key, f"expected one of {', '.join(map(repr, get_args(alias)))}, got {value!r}")
    return value


def _number(key: str, measure: Measure, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise RuleError(key, f"expected a number, got {value!r}")
    try:
        return to_units(measure, value)
    except ValueError as error:
        raise RuleError(key, f"{value} {error}") from None


def _limits(measure: Measure, value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping):
        return {"": _number(measure, measure, value)}
    if not value:
        raise RuleError(measure, "expected a number, or one for each plan tier: { starter = 5, pro = 50 }")
    return {str(tier): _number(f"{measure}.{tier}", measure, limit) for tier, limit in value.items()}


def _window(fields: Mapping[str, Any], measure: Measure) -> Window:
    per = fields.get("per", "run" if measure in ("repeats", "depth") else None)
    if per is None:
        raise RuleError("per", f"is missing; expected {EXPECTED}")
    try:
        return Window.parse(str(per), str(fields.get("timezone", "UTC")))
    except ValueError as error:
        raise RuleError("timezone" if "time zone" in str(error) else "per", str(error)) from None


def _alerts(value: object) -> tuple[int, ...]:
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(percent, int) and not isinstance(percent, bool) and 0 < percent <= 100 for percent in value
    ):
        raise RuleError("alert_at", f"expected percentages from 1 to 100 such as [50, 80], got {value!r}")
    return tuple(sorted(set(value)))


def _degrade(fields: Mapping[str, Any], at_limit: AtLimit) -> tuple[str | None, int | None]:
    to = fields.get("degrade")
    if (to is not None) != (at_limit == "degrade"):
        raise RuleError(
            "degrade",
            'goes with at_limit = "degrade"; expected { model = "…" }, { max_output_tokens = … } or both',
        )
    if to is None:
        return None, None
    if not isinstance(to, Mapping) or not to or set(to) - {"model", "max_output_tokens"}:
        raise RuleError("degrade", f'expected {{ model = "…", max_output_tokens = … }}, got {to!r}')
    model, tokens = to.get("model"), to.get("max_output_tokens")
    if model is not None and (not isinstance(model, str) or not model):
        raise RuleError("degrade.model", f"expected the name of a model, got {model!r}")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1):
        raise RuleError("degrade.max_output_tokens", f"expected a whole number above 0, got {tokens!r}")
    return model, tokens


def _queue(fields: Mapping[str, Any], at_limit: AtLimit) -> float:
    seconds = fields.get("queue_seconds")
    if (seconds is not None) != (at_limit == "queue"):
        raise RuleError("queue_seconds", 'goes with at_limit = "queue"; expected the seconds to wait at most')
    if seconds is None:
        return 0.0
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, Decimal)) or not 0 < seconds <= 3600:
        raise RuleError("queue_seconds", f"expected seconds between 0 and 3600, got {seconds!r}")
    return float(seconds)


def budget(**fields: Any) -> Rule:
    """One rule. The arguments are the keys of a `[[budget]]` table; see docs/budgets.md.

    ```python
    budget(tenant="each", usd={"starter": 5, "pro": 50}, per="day", timezone="Europe/Berlin")
    budget(user="each", requests=60, per="minute", at_limit="queue", queue_seconds=5)
    budget(run="each", steps=40, per="run")
    ```

    Raises:
        RuleError: A key is missing, unknown or has a value that makes no sense; it names the key.
    """
    for key in fields:
        if key not in _SETTINGS and key not in FIELDS and key not in MEASURES:
            raise unknown_key(key, (*_SETTINGS, *FIELDS, *MEASURES))
    counted = [measure for measure in MEASURES if measure in fields]
    if len(counted) != 1:
        found = " and ".join(counted) or "none"
        raise RuleError(counted[-1] if counted else "name", f"expected one of {', '.join(MEASURES)}, got {found}")
    measure = counted[0]
    window = _window(fields, measure)
    scope = read_scope(fields)
    if window.period in ("session", "run") and window.period not in scope.patterns:
        scope = Scope({**scope.patterns, cast(Field, window.period): EACH})
    at_limit: AtLimit = _choice(fields, "at_limit", AtLimit, "block")
    if measure in ("repeats", "depth") and at_limit not in ("block", "warn"):
        raise RuleError("at_limit", f'expected "block" or "warn" for {measure}, got {at_limit!r}')
    name = fields.get("name", f"{scope} {measure}/{window}")
    if not isinstance(name, str) or not name or "|" in name:
        raise RuleError("name", f"expected a name without '|', got {name!r}")
    model, tokens = _degrade(fields, at_limit)
    return Rule(
        name=bounded(name),
        scope=scope,
        measure=measure,
        limits=_limits(measure, fields[measure]),
        window=window,
        alert_at=_alerts(fields["alert_at"]) if "alert_at" in fields else (50, 80, 100),
        at_limit=at_limit,
        degraded_model=model,
        degraded_tokens=tokens,
        queue_seconds=_queue(fields, at_limit),
        on_store_down=_choice(fields, "on_store_down", StoreDownPolicy, "lease"),
        on_crash=_choice(fields, "on_crash", CrashPolicy, "release"),
        unpriced=_choice(fields, "unpriced", UnpricedPolicy, "allow"),
    )
