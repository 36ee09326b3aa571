"""Admitting one call when a look at the books is not enough."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Protocol

from .accounts import Account, Counted, Hold
from .admission import UNGUARDED, Action, Admission
from .broker import Broker, Refusal, StaleWindow
from .demand import Demand
from .exceeded import BudgetExceeded
from .planner import Plan, Planner, amounts
from .refusals import exceeded, killed, not_priced, store_down, too_deep
from .rules import scope_part
from .stores.base import StoreDown

FIRST_WAIT = 0.02
LONGEST_WAIT = 0.5


class Witness(Protocol):
    """Who is told what became of a call."""

    def blocked(self, error: BudgetExceeded, account: Account | None) -> None:
        """A call was refused; `account` is the one without room, if that is why."""
        ...

    def warned(self, counted: Counted, reason: str) -> None:
        """A call was let through although a rule that only warns has no room for it."""
        ...


class Attempt:
    """One call on its way through the rules. `step` it until it is admitted or refused.

    A rule that degrades a call no longer applies to it: its limit is for calls that run as asked. Every other
    rule still does.
    """

    def __init__(self, demand: Demand, broker: Broker, witness: Witness) -> None:
        self._asked = self._demand = demand
        self._broker = broker
        self._witness = witness
        self._excluded: frozenset[str] = frozenset()
        self._action: Action | None = None
        self._rule: str | None = None
        self._reason: str | None = None
        self._waiting_since: float | None = None
        self._wait = FIRST_WAIT

    def step(self, planner: Planner) -> Admission | float:
        """Admit the call, or say how many seconds to wait before the next step.

        Raises:
            BudgetExceeded: A rule refuses it.
        """
        while True:
            now = self._broker.now()
            plan = planner.plan(self._demand, now, self._open, self._excluded)
            if plan.kill is None and not self._excluded:
                planner.remember(self._demand, plan)
            self._check(plan, now)
            holds = self._holds(plan, now)
            if not holds:
                return self._admit(())
            refusals: Sequence[Refusal] = ()
            try:
                if self._broker.down:
                    self._alone(holds)
                else:
                    refusals = self._broker.reserve(holds)
            except StaleWindow:
                continue
            except StoreDown:
                self._alone(holds)
            if not refusals:
                return self._admit(holds)
            wait = self._refused(refusals, now)
            if wait is not None:
                return wait

    def _open(self, counted: Counted) -> Account:
        books = self._broker.books
        with books.lock:
            return books.open(counted, self._broker.now())

    def _check(self, plan: Plan, now: float) -> None:
        demand = self._demand
        if plan.kill is not None:
            raise self._block(killed(plan.kill, now))
        for counted in plan.depths:
            if demand.depth > counted.limit:
                error = too_deep(counted, demand.depth)
                if counted.rule.at_limit == "block":
                    raise self._block(error)
                self._warn(counted, str(error))
        if plan.unpriced is not None and demand.cost_ceiling is None:
            raise self._block(not_priced(plan.unpriced, demand.model))

    def _holds(self, plan: Plan, now: float) -> list[Hold]:
        needs = amounts(self._demand)
        holds = [(account, needs[kind]) for account, kind in plan.lines]
        for counted in plan.repeats:
            for signature, times in Tally(self._demand.tool_calls).items():
                scope = f"{counted.scope} {scope_part('tool_call', signature)}"
                own = Counted.of(counted.rule, scope, counted.limit, now)
                holds.append((self._open(own), times))
        return holds

    def _alone(self, holds: Sequence[Hold]) -> None:
        refused = self._broker.reserve_alone(holds)
        if refused:
            raise self._block(store_down(refused[0]))

    def _refused(self, refusals: Sequence[Refusal], now: float) -> float | None:
        """Degrade the call and try at once (`None`), or wait this long; or raise."""
        by_tightness = sorted(refusals, key=_left)
        for refusal in by_tightness:
            if refusal.account.counted.rule.at_limit == "degrade":
                self._degrade(refusal, now)
                return None
        for refusal in by_tightness:
            if refusal.account.counted.rule.at_limit == "block":
                raise self._block(exceeded(refusal, now), refusal.account)
        return self._queue(by_tightness[0], now)

    def _degrade(self, refusal: Refusal, now: float) -> None:
        rule, demand = refusal.account.counted.rule, self._demand
        model = rule.degraded_model or demand.model
        tokens = rule.degraded_tokens
        if tokens is not None and demand.max_output_tokens is not None and demand.max_output_tokens <= tokens:
            tokens = None
        ceiling = demand.reprice(model, tokens) if demand.reprice is not None else demand.cost_ceiling
        tokens = demand.max_output_tokens if tokens is None else tokens
        self._demand = demand._replace(model=model, max_output_tokens=tokens, cost_ceiling=ceiling)
        self._excluded |= {rule.name}
        self._action, self._rule = "degrade", rule.name
        self._reason = str(exceeded(refusal, now)).replace("refused", "degraded", 1)

    def _queue(self, refusal: Refusal, now: float) -> float:
        rule = refusal.account.counted.rule
        error = exceeded(refusal, now)
        moment = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = moment
        left = rule.queue_seconds - (moment - self._waiting_since)
        if left <= 0 or error.retry_after is None or error.retry_after > left:
            raise self._block(error, refusal.account)
        if self._action is None:
            self._action, self._rule = "queue", rule.name
            self._reason = str(error).replace("refused the call", "made the call wait", 1)
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        return min(self._wait, left)

    def _admit(self, holds: Sequence[Hold]) -> Admission:
        for account, amount in holds:
            counted = account.counted
            if counted.rule.at_limit == "warn" and account.committed > counted.limit:
                refusal = Refusal(account, account.standing, amount)
                text = str(exceeded(refusal, self._broker.now()))
                self._warn(counted, text.replace("refused", "warns about", 1))
        if not holds and self._action is None:
            return UNGUARDED
        admission = Admission(self._broker.books, holds)
        admission.action, admission.rule, admission.reason = self._action, self._rule, self._reason
        if self._action == "degrade":
            if self._demand.model != self._asked.model:
                admission.model = self._demand.model
            if self._demand.max_output_tokens != self._asked.max_output_tokens:
                admission.max_output_tokens = self._demand.max_output_tokens
        return admission

    def _warn(self, counted: Counted, reason: str) -> None:
        self._witness.warned(counted, reason)
        if self._action is None:
            self._action, self._rule, self._reason = "warn", counted.rule.name, reason

    def _block(self, error: BudgetExceeded, account: Account | None = None) -> BudgetExceeded:
        self._witness.blocked(error, account)
        return error


def _left(refusal: Refusal) -> float:
    """The share of the limit that is left: the smaller, the tighter the rule."""
    limit, standing = refusal.account.counted.limit, refusal.standing
    return (limit - standing.settled - standing.others - standing.held) / limit if limit else -1.0
