"""The words and figures of a refusal."""

from __future__ import annotations

from datetime import UTC, datetime

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.kill_switch import Kill
from genledger.budgets.leases.lease_client import Refusal
from genledger.budgets.leases.local_lease import CounterKey, LocalLease
from genledger.budgets.rules.units import from_units, show

BUSY_RETRY = 1.0
"""Seconds after which to try again when only calls under way stand in the way."""

STORE_RETRY = 5.0
"""Seconds after which to try again when the store is down."""


def exceeded(refusal: Refusal, now: float) -> BudgetExceeded:
    """No room in a rule for what a call may cost."""
    counted, amount = refusal.account.counted, refusal.amount
    rule = counted.rule
    settled = refusal.standing.settled
    reserved = refusal.standing.others + refusal.standing.held
    too_big = amount > counted.limit
    resets = counted.end or refusal.standing.frees_at or None
    if too_big:
        retry_after = None
    elif settled + amount <= counted.limit:
        retry_after = BUSY_RETRY
    else:
        retry_after = max(0.0, resets - now) if resets is not None else None
    per = f"per {rule.window}"
    message = (
        f"budget {rule.name!r} refused the call: {counted.scope} has spent {show(rule.measure, settled)} of "
        f"{show(rule.measure, counted.limit)} {per}, {show(rule.measure, reserved)} are reserved, "
        f"and this call may need {show(rule.measure, amount)}"
    )
    if too_big:
        message += "; that is more than the whole limit"
    elif resets is not None:
        message += f"; resets at {rule.window.local(resets).isoformat(timespec='seconds')}"
    return _error(message, counted, settled, reserved, resets, retry_after)


def store_down(account: LocalLease) -> BudgetExceeded:
    """The store does not answer, and the rule does not let calls through without it."""
    counted = account.counted
    why = "lets no call through" if counted.rule.on_store_down == "closed" else "has used up its last slice"
    message = f"budget {counted.rule.name!r} ({counted.scope}) {why} while the budget store is down"
    standing = account.standing
    reserved = standing.others + standing.held
    return _error(message, counted, standing.settled, reserved, counted.end or None, STORE_RETRY)


def too_deep(counted: CounterKey, depth: int) -> BudgetExceeded:
    """Agents are nested deeper than a rule allows."""
    message = f"budget {counted.rule.name!r} refused the call: runs are nested {depth} deep, more than {counted.limit}"
    return _error(message, counted, depth, 0, None, None)


def not_priced(counted: CounterKey, model: str | None) -> BudgetExceeded:
    """The price of a call is not known, and a rule wants to know it."""
    message = f"budget {counted.rule.name!r} refused the call: the price of model {model!r} is not known"
    return _error(message, counted, 0, 0, None, None)


def killed(kill: Kill, now: float) -> BudgetExceeded:
    """Somebody switched the call off."""
    until = datetime.fromtimestamp(kill.until, UTC) if kill.until is not None else None
    lifted = f"until {until.isoformat(timespec='seconds')}" if until is not None else "until it is revived"
    return BudgetExceeded(
        f"calls for {kill.scope} were stopped by {kill.who} {lifted}: {kill.why}",
        scope=str(kill.scope),
        rule="kill switch",
        measure="calls",
        spent=0,
        reserved=0,
        limit=0,
        resets_at=until,
        retry_after=max(0.0, kill.until - now) if kill.until is not None else None,
    )


def _error(
    message: str,
    counted: CounterKey,
    settled: int,
    reserved: int,
    resets: float | None,
    retry_after: float | None,
) -> BudgetExceeded:
    rule = counted.rule
    return BudgetExceeded(
        message,
        scope=counted.scope,
        rule=rule.name,
        measure=rule.measure,
        spent=from_units(rule.measure, settled),
        reserved=from_units(rule.measure, reserved),
        limit=from_units(rule.measure, counted.limit),
        resets_at=rule.window.local(resets) if resets is not None else None,
        retry_after=retry_after,
    )
