"""Budget and routing rules: the tables of a rule file, or the results of `budget()` and `route()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import cached_property, partial
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from genledger.budgets.rules.rule_names import twin, twins
from genledger.budgets.rules.scope import EACH, FIELDS, RuleError, Scope, ScopeField
from genledger.budgets.rules.units import Measure, to_units
from genledger.budgets.rules.windows import EXPECTED, Window, known_zone
from genledger.budgets.stores import check_store
from genledger.channels.outbox import Targets
from genledger.shared.text import bounded, quoted
from genledger.shared.toml_table import Explained, Table, make, refusal

MEASURES: tuple[Measure, ...] = get_args(Measure)


def _units(measure: Measure, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError(f"expected a number, got {quoted(value)}")
    try:
        return to_units(measure, value)
    except ValueError as error:
        raise ValueError(f"{value} {error}") from None


def _by_tier(value: object) -> object:
    return value if isinstance(value, Mapping) else {"": value}


def _as_data(value: object) -> object:
    return bounded(value) if isinstance(value, str) else value


def _name(text: str) -> str:
    if "|" in text:
        raise ValueError
    return text


def _period(text: str) -> str:
    Window.parse(text)
    return text


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not 0 < value <= 3600:
        raise ValueError
    return float(value)


def _sorted(percents: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(percents)))


def _url(text: str) -> str:
    if "://" not in text:
        raise ValueError
    return text


def _web_address(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text


def _store(text: str) -> str:
    with suppress(ModuleNotFoundError):  # which is no mistake of the file
        check_store(text)
    return text


Text = Annotated[str, BeforeValidator(_as_data), Field(min_length=1)]
Usd = Annotated[int, BeforeValidator(partial(_units, "usd"))]
Count = Annotated[int, BeforeValidator(partial(_units, "tokens"))]
UsdLimits = Annotated[dict[str, Usd], BeforeValidator(_by_tier), Field(min_length=1)]
CountLimits = Annotated[dict[str, Count], BeforeValidator(_by_tier), Field(min_length=1)]
Percent = Annotated[int, Field(gt=0, le=100)]

_PATTERN = f"a value, a glob or {EACH!r}"
_LIMIT = "a number, or one for each plan tier: { starter = 5, pro = 50 }"
_MODEL = "the name of the model to use"


class Degrade(Table):
    """Changes to a call when a degrading rule has no room for it."""

    model: Text | None = Field(None, description=_MODEL)
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="a whole number above 0")

    @classmethod
    def relations(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `Table`."""
        if not given:
            yield "", "expected model, max_output_tokens or both"


class Rule(Table):
    """One budget, rate limit or loop cap: a `[[budget]]` table.

    Each measure holds one limit in units (see `to_units`) by plan tier, or a single one under the empty name.
    """

    name: Annotated[Text, AfterValidator(_name)] = Field("", description="a name without '|'")
    tenant: Text | None = Field(None, description=_PATTERN)
    feature: Text | None = Field(None, description=_PATTERN)
    user: Text | None = Field(None, description=_PATTERN)
    session: Text | None = Field(None, description=_PATTERN)
    model: Text | None = Field(None, description=_PATTERN)
    api_key: Text | None = Field(None, description=_PATTERN)
    run: Text | None = Field(None, description=_PATTERN)
    usd: UsdLimits | None = Field(None, description=_LIMIT)
    tokens: CountLimits | None = Field(None, description=_LIMIT)
    requests: CountLimits | None = Field(None, description=_LIMIT)
    steps: CountLimits | None = Field(None, description=_LIMIT)
    repeats: CountLimits | None = Field(None, description=_LIMIT)
    depth: CountLimits | None = Field(None, description=_LIMIT)
    timezone: Annotated[str, AfterValidator(known_zone)] = Field(
        "UTC", description="the name of a time zone such as Europe/Berlin"
    )
    per: Annotated[str, AfterValidator(_period)] = Field("run", description=EXPECTED)
    alert_at: Annotated[tuple[Percent, ...], Field(strict=False), AfterValidator(_sorted)] = Field(
        (50, 80, 100), description="percentages from 1 to 100 such as [50, 80]"
    )
    at_limit: Literal["block", "degrade", "queue", "warn"] = "block"
    degrade: Degrade | None = Field(None, description="{ model = …, max_output_tokens = … }")
    queue_seconds: Annotated[float, BeforeValidator(_seconds)] = Field(0.0, description="seconds between 0 and 3600")
    on_store_down: Literal["open", "closed", "lease"] = "lease"
    on_crash: Literal["release", "spend"] = "release"
    unpriced: Literal["allow", "block"] = "allow"

    @classmethod
    def relations(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """See `Table`."""
        counted = [measure for measure in MEASURES if measure in given]
        if not counted:
            yield "", f"has no limit; expected one of {', '.join(MEASURES)}"
        elif len(counted) > 1:
            yield counted[-1], f"cannot be combined with {counted[0]}; expected one of {', '.join(MEASURES)}"
        caps_a_run = not {"repeats", "depth"}.isdisjoint(counted)
        at_limit = given.get("at_limit", "block")
        if caps_a_run and at_limit in ("degrade", "queue"):
            yield "at_limit", f"expected 'block' or 'warn' for {counted[-1]}, got {at_limit!r}"
        if "per" not in given and not caps_a_run:
            yield "per", f"is missing; expected {EXPECTED}"
        if ("degrade" in given) != (at_limit == "degrade"):
            yield "degrade", "goes together with at_limit = 'degrade'; expected { model = …, max_output_tokens = … }"
        if ("queue_seconds" in given) != (at_limit == "queue"):
            yield "queue_seconds", "goes together with at_limit = 'queue'; expected the seconds to wait at most"

    def model_post_init(self, context: Any) -> None:
        """Name a rule without a name after its scope and limit."""
        refused = all(getattr(self, measure) is None for measure in MEASURES)
        if not self.name and not refused:
            object.__setattr__(self, "name", bounded(f"{self.scope} {self.measure}/{self.window}"))

    @cached_property
    def scope(self) -> Scope:
        """Which calls it applies to; what lasts for a session or a run counts each one by itself."""
        patterns: dict[ScopeField, str | None] = {field: getattr(self, field) for field in FIELDS}
        if self.window.period == "session" or self.window.period == "run":
            patterns[self.window.period] = patterns[self.window.period] or EACH
        return Scope({field: pattern for field, pattern in patterns.items() if pattern is not None})

    @cached_property
    def measure(self) -> Measure:
        """Return the measure that the rule counts."""
        return next(measure for measure in MEASURES if getattr(self, measure) is not None)

    @cached_property
    def limits(self) -> Mapping[str, int]:
        """Return the limits in units by plan tier, or a single one under the empty name."""
        return getattr(self, self.measure)

    @cached_property
    def window(self) -> Window:
        """Return the period that the rule counts over."""
        return Window.parse(self.per, self.timezone)

    @property
    def tiered(self) -> bool:
        """Return whether the limit depends on the tenant's plan tier."""
        return "" not in self.limits

    def limit(self, tier: str | None) -> int:
        """Return the limit for a tier. A tier that the rule does not name gets its smallest limit."""
        single = self.limits.get("")
        if single is not None:
            return single
        return self.limits[tier] if tier is not None and tier in self.limits else min(self.limits.values())


class Route(Table):
    """One routing rule: a `[[route]]` table."""

    name: Text = Field("", description="a name")
    tenant: Text | None = Field(None, description=_PATTERN)
    feature: Text | None = Field(None, description=_PATTERN)
    tier: Text | None = Field(None, description="the name of a plan tier")
    model: Text = Field(description=_MODEL)

    def model_post_init(self, context: Any) -> None:
        """Name a route without a name after its scope and model."""
        if not self.name:
            object.__setattr__(self, "name", f"{self.applies_to} -> {self.model}")

    @cached_property
    def scope(self) -> Scope:
        """Which calls it applies to."""
        patterns: dict[ScopeField, str | None] = {"tenant": self.tenant, "feature": self.feature}
        return Scope({field: pattern for field, pattern in patterns.items() if pattern is not None})

    @property
    def applies_to(self) -> str:
        """Return a readable scope."""
        return f"{self.scope} tier={self.tier}" if self.tier else str(self.scope)


class PlanTiers(Table):
    """The `[tiers]` table."""

    default: Text | None = Field(None, description="the name of a tier")
    tenants: dict[str, Text] = Field({}, description="the name of a tier for each tenant")


class WebhookTarget(Table):
    """A `[[alerts.webhook]]` table. The secret that signs requests is in an environment variable, not in the file."""

    url: Annotated[str, AfterValidator(_web_address)] = Field(description="an http:// or https:// URL", repr=False)
    secret_env: Text | None = Field(None, description="the name of an environment variable")


class AlertTargets(Table):
    """The `[alerts]` table. Notification URLs hold tokens."""

    to: tuple[Annotated[str, AfterValidator(_url)], ...] = Field(
        (), description="a list of notification URLs, each with a scheme", repr=False, strict=False
    )
    webhook: list[WebhookTarget] = Field([], description="[[alerts.webhook]] tables, with two brackets")

    @property
    def targets(self) -> Targets:
        """Return the channels."""
        return Targets(self.to, tuple((hook.url, hook.secret_env) for hook in self.webhook))


class RuleFile(Table):
    """A file of rules."""

    store: Annotated[str, AfterValidator(_store)] | None = Field(
        None,
        description="a URL or the path of a file",
        repr=False,
    )
    tiers: PlanTiers = Field(PlanTiers.model_construct(), description="a [tiers] table")
    alerts: AlertTargets = Field(AlertTargets.model_construct(), description="an [alerts] table")
    budget: list[Rule] = Field([], description="[[budget]] tables, with two brackets")
    route: list[Route] = Field([], description="[[route]] tables, with two brackets")
    # Read by alerting alone, so that a mistake there stops no budget.
    alert: list[Any] = Field([], description="[[alert]] tables, with two brackets")

    @field_validator("budget")
    @classmethod
    def _have_names_of_their_own(cls, rules: list[Rule]) -> list[Rule]:
        same = twins(rules)
        if same:
            raise refusal({(place, "name"): twin(rules[place]) for place in same})
        return rules


def _refused(mistakes: list[Explained]) -> RuleError:
    first, *others = mistakes
    return RuleError(first.key, "; ".join((first.text, *map(str, others))))


def budget(**keys: Any) -> Rule:
    """Create one budget, rate limit or loop cap. The arguments are the keys of a `[[budget]]` table (docs/budgets.md).

    ```python
    budget(tenant="each", usd={"starter": 5, "pro": 50}, per="day", timezone="Europe/Berlin")
    budget(user="each", requests=60, per="minute", at_limit="queue", queue_seconds=5)
    budget(run="each", steps=40, per="run")
    ```

    Raises:
        RuleError: Keys are missing, unknown or have invalid values; the message lists all of them.
    """
    return make(Rule, keys, _refused)


def route(**keys: Any) -> Route:
    """Create one routing rule. The arguments are the keys of a `[[route]]` table.

    ```python
    route(feature="summaries", tier="starter", model="gpt-5-mini")
    ```

    Raises:
        RuleError: Keys are missing, unknown or have invalid values; the message lists all of them.
    """
    return make(Route, keys, _refused)
