"""Alert rules: the `[[alert]]` tables of the file that also has the budgets.

Each kind of rule has two forms. The `plain` one is the rule of thumb that people know. The `sound` one, the default,
knows weekdays, noise and how much there is to judge by.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from genledger.budgets.rules.rule import Degrade, RuleFile, Text
from genledger.budgets.rules.rule_file import RuleFileError
from genledger.budgets.rules.scope import EACH, RuleError, Scope, ScopeField
from genledger.budgets.rules.windows import known_zone
from genledger.shared.text import bounded
from genledger.shared.toml_table import Explained, Table, make, read_table, refusal

KindName = Literal[
    "spike",
    "regression",
    "errors",
    "pace",
    "embeddings",
    "growth",
    "spend",
    "unpriced",
    "dropped",
    "silence",
    "new",
]
"""What a rule watches."""

Form = Literal["sound", "plain"]
Action = Literal["notify", "throttle", "degrade", "kill"]
Period = Literal["hour", "day", "week", "month"]
AlertField = Literal["tenant", "feature", "user", "model", "provider", "prompt_name", "prompt_version"]
"""What the scope of a rule can name: dimensions of `genledger query`."""

ALERT_FIELDS: tuple[AlertField, ...] = get_args(AlertField)
ACTING_FIELDS: frozenset[str] = frozenset({"tenant", "feature", "user", "model"})
"""Fields that budgets and kill switches know, too: only scopes of these can be throttled, degraded or killed."""

MIN_USD = 5.0
MIN_SHARE = 0.01
"""The smallest impact that is reported without a `min_usd`: $5, or 1 % of what the organization spends in the window
if that is more."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
PERIOD_SECONDS: Mapping[Period, int] = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}

_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_PATTERN = f"a value, a glob or {EACH!r}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of rule is, and what holds where a rule gives nothing else.

    Attributes:
        says: What happened, for people: completes "alert when …".
        unit: Of the thresholds in `above`: `ratio` (times what is expected), `share` (0 to 1), `percent`, `USD`,
            `records` or none.
        above: Default thresholds, by form.
        over: Default window in seconds, of kinds that have a rolling one; else 0.
        window: The calendar window of the others.
        each: The field that has a scope for each value, unless the rule names fields itself.
        keys: The keys, besides those of all kinds, that a rule of this kind may have.
    """

    says: str
    unit: Literal["ratio", "share", "percent", "USD", "records", ""]
    above: Mapping[Form, tuple[float, ...]]
    over: int = 0
    window: Literal["", "hour", "day", "week", "month"] = ""
    each: AlertField | None = None
    keys: frozenset[str] = frozenset()


def _both(*above: float) -> Mapping[Form, tuple[float, ...]]:
    return {"sound": above, "plain": above}


KINDS: Mapping[KindName, Kind] = {
    "spike": Kind(
        "a day costs far more than expected",
        "ratio",
        _both(2.0),
        window="day",
        each="tenant",
        keys=frozenset({"above", "min_usd", "min_calls", "first_usd"}),
    ),
    "regression": Kind(
        "a success takes more tokens than before a new version",
        "ratio",
        _both(1.4),
        over=7 * 86400,
        each="feature",
        keys=frozenset({"above", "over", "min_successes", "outcome_name", "metric", "split"}),
    ),
    "errors": Kind(
        "calls fail while input tokens rise",
        "share",
        _both(0.05),
        over=1800,
        each="feature",
        keys=frozenset({"above", "over", "min_calls"}),
    ),
    "pace": Kind(
        "a budget is used up too early",
        "percent",
        {"sound": (100.0,), "plain": (80.0,)},
        keys=frozenset({"above", "budget"}),
    ),
    "embeddings": Kind(
        "embeddings take more tokens than generation",
        "ratio",
        {"sound": (3.0,), "plain": (1.0,)},
        over=3600,
        keys=frozenset({"above", "over", "min_usd"}),
    ),
    "growth": Kind(
        "a week costs more than the one before",
        "share",
        _both(0.2),
        window="week",
        each="tenant",
        keys=frozenset({"above", "min_usd"}),
    ),
    "spend": Kind(
        "spend passes an amount",
        "USD",
        _both(),
        window="day",
        keys=frozenset({"above", "per"}),
    ),
    "unpriced": Kind(
        "calls have no price",
        "share",
        _both(0.01),
        over=86400,
        keys=frozenset({"above", "over", "min_calls"}),
    ),
    "dropped": Kind(
        "telemetry was lost",
        "records",
        _both(0.0),
        over=3600,
        keys=frozenset({"above", "over"}),
    ),
    "silence": Kind(
        "there are no calls at all",
        "",
        _both(),
        over=6 * 3600,
        keys=frozenset({"over"}),
    ),
    "new": Kind(
        "a model, a key or another value appears for the first time",
        "",
        _both(),
        over=86400,
        keys=frozenset({"over", "watch", "min_usd", "min_calls"}),
    ),
}
"""Every kind of rule."""


def seconds_of(text: str) -> int:
    """Return the seconds of `30m`, `2h`, `7d`, …

    Raises:
        ValueError: It is no such duration, or 0.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError
    return int(found[1]) * SECONDS[found[2]]


def _duration(text: str) -> str:
    seconds_of(text)
    return text


def _number(value: object) -> object:
    return float(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


def _listed(value: object) -> object:
    return tuple(map(_number, value)) if isinstance(value, (list, tuple)) else (_number(value),)


def _ascending(above: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(set(above)))


def _name(text: str) -> str:
    if "|" in text:
        raise ValueError
    return text


Amount = Annotated[float, BeforeValidator(_number), Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Duration = Annotated[str, AfterValidator(_duration)]

_OVER = "a duration such as 30m, 6h or 7d"


class AlertRule(Table):
    """One `[[alert]]` table.

    `above` holds the thresholds, in the unit of the rule's kind (`KINDS`); each is reported once.
    """

    kind: KindName
    name: Annotated[Text, AfterValidator(_name)] = Field("", description="a name without '|'")
    form: Form = "sound"
    tenant: Text | None = Field(None, description=_PATTERN)
    feature: Text | None = Field(None, description=_PATTERN)
    user: Text | None = Field(None, description=_PATTERN)
    model: Text | None = Field(None, description=_PATTERN)
    provider: Text | None = Field(None, description=_PATTERN)
    prompt_name: Text | None = Field(None, description=_PATTERN)
    prompt_version: Text | None = Field(None, description=_PATTERN)
    timezone: Annotated[str, AfterValidator(known_zone)] = Field(
        "UTC", description="the name of a time zone such as Europe/Berlin"
    )
    above: Annotated[tuple[Number, ...], BeforeValidator(_listed), AfterValidator(_ascending), Field(min_length=1)] = (
        Field((), description="a number from 0, or a list of them")
    )
    over: Duration | None = Field(None, description=_OVER)
    per: Period = "day"
    min_usd: Amount | None = Field(None, description="USD from 0")
    min_calls: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number above 0")
    min_successes: Annotated[int, Field(ge=2)] = Field(30, description="a whole number above 1")
    first_usd: Amount | None = Field(None, description="USD from 0")
    outcome_name: Text | None = Field(None, description="the name of a product outcome")
    metric: Literal["tokens", "cost"] = "tokens"
    split: Literal["prompt_version", "release"] = "prompt_version"
    watch: Literal["model", "provider", "tenant", "feature", "user", "api_key"] = "model"
    budget: Text = Field("*", description="the name of a [[budget]], or a glob")
    action: Action = "notify"
    action_for: Duration = Field("24h", description=_OVER)
    degrade: Degrade | None = Field(None, description="{ model = …, max_output_tokens = … }")

    @classmethod
    def relations(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `Table`."""
        name = given.get("kind")
        kind = KINDS.get(name) if isinstance(name, str) else None  # type: ignore[call-overload]
        if kind is not None:
            for key in _OF_SOME_KINDS - kind.keys:
                if key in given:
                    yield key, f"has no meaning for kind = {name!r}; leave it out"
            if name == "spend" and "above" not in given:
                yield "above", "is missing; expected an amount in USD, or a list of them"
            if name == "new" and given.get("watch") == "api_key":
                for key in (*ALERT_FIELDS, "min_usd", "min_calls"):
                    if key in given:
                        yield key, "has no meaning for watch = 'api_key': budgets know keys, the ledger does not"
            if name == "pace":
                for key in ALERT_FIELDS:
                    if key in given:
                        yield key, "has no meaning for kind = 'pace'; its scopes are those of the budget"
        action = given.get("action", "notify")
        if ("degrade" in given) != (action == "degrade"):
            yield "degrade", "goes together with action = 'degrade'; expected { model = …, max_output_tokens = … }"
        if "action_for" in given and action == "notify":
            yield "action_for", "goes together with an action: throttle, degrade or kill"
        if action in ("throttle", "degrade", "kill"):
            if name in ("dropped", "silence", "unpriced", "new"):
                yield "action", f"expected 'notify' for kind = {name!r}, got {action!r}"
            for key in ALERT_FIELDS:
                if key in given and key not in ACTING_FIELDS:
                    yield "action", f"expected 'notify' for a scope with {key}, which budgets do not know"

    def model_post_init(self, context: Any) -> None:
        """Name a rule without a name after what it watches."""
        if not self.name:
            patterns = " ".join(f"{field}={pattern}" for field, pattern in self.given_scope.items())
            watched = f" {self.watch}" if self.kind == "new" else ""
            object.__setattr__(self, "name", bounded(f"{self.kind}{watched}{' ' * bool(patterns)}{patterns}"))

    @property
    def given_scope(self) -> dict[AlertField, str]:
        """Return the patterns of the fields that the rule names itself."""
        return {field: pattern for field in ALERT_FIELDS if (pattern := getattr(self, field)) is not None}

    @cached_property
    def patterns(self) -> dict[AlertField, str]:
        """Return the pattern of each field of the scope: a value, a glob (one scope for all), or `each`."""
        given = self.given_scope
        each = KINDS[self.kind].each
        return given if given or each is None else {each: EACH}

    @property
    def by(self) -> tuple[AlertField, ...]:
        """Return the fields that have a scope for each of their values."""
        return tuple(field for field, pattern in self.patterns.items() if pattern == EACH)

    @property
    def filters(self) -> dict[AlertField, str]:
        """Return the patterns that select calls."""
        return {field: pattern for field, pattern in self.patterns.items() if pattern != EACH}

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds in ascending order; a kind that has none has a single 0."""
        return self.above or KINDS[self.kind].above[self.form] or (0.0,)

    @property
    def unit(self) -> str:
        """Return the unit of the thresholds."""
        return KINDS[self.kind].unit

    @property
    def window_s(self) -> int:
        """Return the length of a rolling window in seconds; 0 if the window is a calendar one."""
        default = KINDS[self.kind].over
        return seconds_of(self.over) if self.over is not None else default

    @property
    def calendar(self) -> str:
        """Return the calendar window: hour, day, week or month; empty if the window rolls, or is the budget's."""
        return self.per if self.kind == "spend" else KINDS[self.kind].window

    @property
    def action_seconds(self) -> int:
        """Return for how long the action holds."""
        return seconds_of(self.action_for)

    @cached_property
    def acting_scope(self) -> Scope:
        """Return the patterns that budgets know."""
        known: dict[ScopeField, str] = {
            field: pattern  # type: ignore[misc]
            for field, pattern in self.patterns.items()
            if field in ACTING_FIELDS
        }
        return Scope(known)


_OF_SOME_KINDS: frozenset[str] = frozenset().union(*(kind.keys for kind in KINDS.values()))


class AlertFile(RuleFile):
    """A rule file as alerting reads it. For budgets, `[[alert]]` is any table: a mistake there stops no budget."""

    alert: list[AlertRule] = Field([], description="[[alert]] tables, with two brackets")

    @field_validator("alert")
    @classmethod
    def _have_their_own_names(cls, rules: list[AlertRule]) -> list[AlertRule]:
        seen: set[str] = set()
        same = {}
        for place, rule in enumerate(rules):
            if rule.name in seen:
                same[place, "name"] = f"another alert is also named {rule.name!r}; rename one of them"
            seen.add(rule.name)
        if same:
            raise refusal(same)  # type: ignore[arg-type]
        return rules


def read_alert_file(path: str | os.PathLike[str]) -> AlertFile:
    """Read the alert rules of a rule file, and all else that is in it; docs/alerts.md describes it.

    Raises:
        RuleFileError: It cannot be read, is not TOML, or has mistakes; with every mistake and its line.
    """
    return read_table(path, AlertFile, RuleFileError, Decimal)


def alert(**keys: Any) -> AlertRule:
    """Create one alert rule. The arguments are the keys of an `[[alert]]` table.

    ```python
    alert(kind="spike", tenant="each", min_usd=20)
    ```

    Raises:
        RuleError: Keys are missing, unknown or have invalid values; the message lists all of them.
    """
    return make(AlertRule, keys, _refused)


def _refused(mistakes: list[Explained]) -> RuleError:
    first, *others = mistakes
    return RuleError(first.key, "; ".join((first.text, *map(str, others))))
