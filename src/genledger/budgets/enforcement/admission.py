"""Admitting one call when a look at the books is not enough."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Protocol

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.matcher import Match, Matcher
from genledger.budgets.enforcement.refusal_texts import exceeded, killed, not_priced, store_down, too_deep
from genledger.budgets.enforcement.request import BudgetRequest
from genledger.budgets.enforcement.reservation import UNGUARDED, Action, Reservation
from genledger.budgets.leases.lease_client import LeaseClient, Refusal, StaleWindow
from genledger.budgets.leases.local_lease import CounterKey, Hold, LocalLease
from genledger.budgets.rules.scope import scope_part
from genledger.budgets.stores.base import StoreDown

FIRST_WAIT = 0.02
LONGEST_WAIT = 0.5


class Observer(Protocol):
    """Listener for refused and warned calls."""

    def blocked(self, error: BudgetExceeded, account: LocalLease | None) -> None:
        """Report a refused call; `account` is the one without room, if that is why."""
        ...

    def warned(self, counted: CounterKey, reason: str) -> None:
        """Report a call admitted although a rule that only warns has no room for it."""
        ...


class Admission:
    """One call on its way through the rules. `step` it until it is admitted or refused.

    A rule that degrades a call no longer applies to it: its limit is for calls that run as asked. Every other
    rule still does.
    """

    def __init__(self, request: BudgetRequest, lease_client: LeaseClient, observer: Observer) -> None:
        self._asked = self._request = request
        self._lease_client = lease_client
        self._observer = observer
        self._excluded: frozenset[str] = frozenset()
        self._action: Action | None = None
        self._rule: str | None = None
        self._reason: str | None = None
        self._waiting_since: float | None = None
        self._wait = FIRST_WAIT

    def step(self, matcher: Matcher) -> Reservation | float:
        """Admit the call, or return the seconds to wait before the next step.

        Raises:
            BudgetExceeded: A rule refuses it.
        """
        while True:
            now = self._lease_client.now()
            plan = matcher.plan(self._request, now, self._open, self._excluded)
            if plan.kill is None and not self._excluded:
                matcher.remember(self._request, plan)
            self._check(plan, now)
            holds = self._holds(plan, now)
            if not holds:
                return self._admit(())
            refusals: Sequence[Refusal] = ()
            try:
                if self._lease_client.down:
                    self._alone(holds)
                else:
                    refusals = self._lease_client.reserve(holds)
            except StaleWindow:
                continue
            except StoreDown:
                self._alone(holds)
            if not refusals:
                return self._admit(holds)
            wait = self._refused(refusals, now)
            if wait is not None:
                return wait

    def _open(self, counted: CounterKey) -> LocalLease:
        books = self._lease_client.books
        with books.lock:
            return books.open(counted, self._lease_client.now())

    def _check(self, plan: Match, now: float) -> None:
        request = self._request
        if plan.kill is not None:
            raise self._block(killed(plan.kill, now))
        for counted in plan.depths:
            if request.depth > counted.limit:
                error = too_deep(counted, request.depth)
                if counted.rule.at_limit == "block":
                    raise self._block(error)
                self._warn(counted, str(error))
        if plan.unpriced is not None and request.cost_ceiling is None:
            raise self._block(not_priced(plan.unpriced, request.model))

    def _holds(self, plan: Match, now: float) -> list[Hold]:
        holds = plan.holds(self._request)
        tool_calls = Tally(self._request.tool_calls)
        if plan.repeats and self._request.more_tool_calls is not None:
            tool_calls.update(self._request.more_tool_calls())
        for counted in plan.repeats:
            for signature, times in tool_calls.items():
                scope = f"{counted.scope} {scope_part('tool_call', signature)}"
                own = CounterKey.of(counted.rule, scope, counted.limit, now)
                holds.append((self._open(own), times))
        return holds

    def _alone(self, holds: Sequence[Hold]) -> None:
        refused = self._lease_client.reserve_alone(holds)
        if refused:
            raise self._block(store_down(refused[0]))

    def _refused(self, refusals: Sequence[Refusal], now: float) -> float | None:
        """Degrade the call and retry immediately (`None`), return the seconds to wait, or raise."""
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
        rule, request = refusal.account.counted.rule, self._request
        model = (rule.degrade and rule.degrade.model) or request.model
        tokens = rule.degrade.max_output_tokens if rule.degrade is not None else None
        if tokens is not None and request.max_output_tokens is not None and request.max_output_tokens <= tokens:
            tokens = None
        ceiling = request.reprice(model, tokens) if request.reprice is not None else request.cost_ceiling
        tokens = request.max_output_tokens if tokens is None else tokens
        self._request = request._replace(model=model, max_output_tokens=tokens, cost_ceiling=ceiling)
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

    def _admit(self, holds: Sequence[Hold]) -> Reservation:
        for account, amount in holds:
            counted = account.counted
            if counted.rule.at_limit == "warn" and account.committed > counted.limit:
                refusal = Refusal(account, account.standing, amount)
                text = str(exceeded(refusal, self._lease_client.now()))
                self._warn(counted, text.replace("refused", "warns about", 1))
        if not holds and self._action is None:
            return UNGUARDED
        reservation = Reservation(self._lease_client.books, holds)
        reservation.action, reservation.rule, reservation.reason = self._action, self._rule, self._reason
        if self._action == "degrade":
            if self._request.model != self._asked.model:
                reservation.model = self._request.model
            if self._request.max_output_tokens != self._asked.max_output_tokens:
                reservation.max_output_tokens = self._request.max_output_tokens
        return reservation

    def _warn(self, counted: CounterKey, reason: str) -> None:
        self._observer.warned(counted, reason)
        if self._action is None:
            self._action, self._rule, self._reason = "warn", counted.rule.name, reason

    def _block(self, error: BudgetExceeded, account: LocalLease | None = None) -> BudgetExceeded:
        self._observer.blocked(error, account)
        return error


def _left(refusal: Refusal) -> float:
    """Return the share of the limit that is left: the smaller, the tighter the rule."""
    limit, standing = refusal.account.counted.limit, refusal.standing
    return (limit - standing.settled - standing.others - standing.held) / limit if limit else -1.0
