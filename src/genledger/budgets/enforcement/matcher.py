"""From a call to the counters it is counted in: worked out once for each kind of call, then looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from genledger.budgets.enforcement.kill_switch import Kill
from genledger.budgets.enforcement.request import BudgetRequest
from genledger.budgets.leases.local_lease import CounterKey, Hold, LocalLease
from genledger.budgets.rules.scope import FIELDS, PATHS, ScopeField, values_of
from genledger.budgets.rules.units import usd_units

if TYPE_CHECKING:
    from genledger.budgets.rules.rule import Rule

MAX_PLANS = 8192
"""Kinds of calls whose plan is remembered; the oldest is forgotten first."""

FOREVER = float("inf")


_KINDS: Mapping[str, int] = {"usd": 0, "tokens": 1, "requests": 2, "steps": 3}


@dataclass(slots=True)
class Match:
    """Rules that apply to one kind of call until a time (seconds since the epoch).

    `lines` pair an account with the place of its amount in (usd, tokens, requests, steps). `unpriced` is the rule
    that does not let calls through whose price is not known. A `plain` plan asks for nothing but the
    amounts of its lines.
    """

    until: float
    lines: tuple[tuple[LocalLease, int], ...]
    depths: tuple[CounterKey, ...]
    repeats: tuple[CounterKey, ...]
    kill: Kill | None
    unpriced: CounterKey | None
    plain: bool

    def holds(self, request: BudgetRequest) -> list[Hold]:
        """What a call may need at most of each line.

        What is not known counts as one unit, so that an exhausted rule refuses it all the same.
        """
        usd = request.cost_ceiling
        tokens = (request.input_tokens or 0) + (request.max_output_tokens or 0)
        needs = (1 if usd is None else usd_units(usd), tokens or 1, 1, request.steps)
        holds = []
        for account, kind in self.lines:
            holds.append((account, needs[kind]))
        return holds

    def allows(self, request: BudgetRequest) -> bool:
        """Return whether this call only has to reserve the lines."""
        if self.plain:
            return True
        return not (
            self.kill is not None
            or (self.unpriced is not None and request.cost_ceiling is None)
            or (self.repeats and (request.tool_calls or request.more_tool_calls))
            or any(request.depth > counted.limit for counted in self.depths)
        )


class Matcher:
    """The rules and kill switches in force. Replaced as a whole when any of them changes."""

    def __init__(
        self, rules: Sequence[Rule], kills: Sequence[Kill], tier_of: Callable[[str | None], str | None]
    ) -> None:
        self.rules = tuple(rules)
        self.kills = tuple(kills)
        self.plans: dict[Any, Match] = {}
        self._tier_of = tier_of
        self.key = self._key()

    def _key(self) -> Callable[[BudgetRequest], Any]:
        used: set[ScopeField] = {field for rule in self.rules for field in rule.scope.patterns}
        used.update(field for kill in self.kills for field in kill.scope.patterns)
        if any(rule.tiered for rule in self.rules):
            used.add("tenant")
        if not used:
            return lambda request: None
        return attrgetter(*(PATHS[field] for field in FIELDS if field in used))

    def plan(
        self,
        request: BudgetRequest,
        now: float,
        open_account: Callable[[CounterKey], LocalLease],
        excluded: frozenset[str],
    ) -> Match:
        """Work out the plan for a call; `excluded` names rules that no longer apply to it."""
        values = values_of(request)
        until = FOREVER
        lines = []
        depths = []
        repeats = []
        unpriced = None
        for rule in self.rules:
            scope = None if rule.name in excluded else rule.scope.label(values)
            if scope is None:
                continue
            limit = rule.limit(self._tier_of(values["tenant"]) if rule.tiered else None)
            counted = CounterKey.of(rule, scope, limit, now)
            if rule.measure == "depth":
                depths.append(counted)
            elif rule.measure == "repeats":
                repeats.append(counted)
            else:
                lines.append((open_account(counted), _KINDS[rule.measure]))
                if rule.measure == "usd" and rule.unpriced == "block":
                    unpriced = counted
            if counted.end:
                until = min(until, counted.end)
        found = None
        for kill in self.kills:
            if (kill.until is None or now < kill.until) and kill.scope.label(values) is not None:
                found = kill
                until = min(until, kill.until or FOREVER)
                break
        plain = not (depths or repeats or found or unpriced)
        return Match(until, tuple(lines), tuple(depths), tuple(repeats), found, unpriced, plain)

    def remember(self, request: BudgetRequest, plan: Match) -> None:
        """Keep a plan for the next call of the kind."""
        plans = self.plans
        if len(plans) >= MAX_PLANS:
            try:
                del plans[next(iter(plans))]
            except (KeyError, StopIteration, RuntimeError):
                plans.clear()
        plans[self.key(request)] = plan
