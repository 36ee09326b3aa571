"""Text and amounts of refusals."""

from __future__ import annotations

from datetime import UTC, datetime

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.kill_switch import Kill
from genledger.budgets.leases.lease_client import Refusal
from genledger.budgets.leases.local_lease import CounterKey, LocalLease
from genledger.budgets.rules.units import from_units, show

BUSY_RETRY = 1.0
"""Seconds to wait if only calls in progress block this one."""

STORE_RETRY = 5.0
"""Seconds to wait if the store is down."""


def exceeded(refusal: Refusal, now: float) -> BudgetExceeded:
    """Return the error for a rule without room for a call."""
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
    message = (
        f"budget {rule.name!r} ({counted.scope}, {show(rule.measure, counted.limit)} per {rule.window}) refused the "
        f"call: spent {show(rule.measure, settled)}, reserved {show(rule.measure, reserved)}; this call may need up "
        f"to {show(rule.measure, amount)}"
    )
    if too_big:
        message += ", which exceeds the whole budget"
    elif resets is not None:
        message += f"; resets at {rule.window.local(resets).isoformat(timespec='seconds')}"
    return _error(message, counted, settled, reserved, resets, retry_after)


def store_down(account: LocalLease) -> BudgetExceeded:
    """Return the error for a store that is down, with a rule that needs it."""
    counted = account.counted
    if counted.rule.on_store_down == "closed":
        why = "on_store_down is 'closed'"
    elif not account.expires:
        why = "it has granted this process nothing yet; check that the store runs and its address is right"
    else:
        why = "the last lease is used up or has expired"
    message = f"budget {counted.rule.name!r} ({counted.scope}) refused the call: the budget store is down, and {why}"
    standing = account.standing
    reserved = standing.others + standing.held
    return _error(message, counted, standing.settled, reserved, counted.end or None, STORE_RETRY)


def too_deep(counted: CounterKey, depth: int) -> BudgetExceeded:
    """Return the error for agents nested deeper than a rule allows."""
    message = f"budget {counted.rule.name!r} refused the call: runs are nested {depth} deep, more than {counted.limit}"
    return _error(message, counted, depth, 0, None, None)


def not_priced(counted: CounterKey, model: str | None) -> BudgetExceeded:
    """Return the error for a rule that blocks calls without a known price."""
    message = (
        f"budget {counted.rule.name!r} refused the call: model {model!r} has no known price; set a price, "
        "or set the rule's `unpriced` to allow"
    )
    return _error(message, counted, 0, 0, None, None)


def killed(kill: Kill, now: float) -> BudgetExceeded:
    """Return the error for a call blocked by a kill switch."""
    until = datetime.fromtimestamp(kill.until, UTC) if kill.until is not None else None
    lifted = f"until {until.isoformat(timespec='seconds')}" if until is not None else "until it is revived"
    if not kill.at:
        lifted = "until the file is corrected"
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
