"""What kinds of rules have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from genledger.alerting.history import History
from genledger.alerting.rules import MIN_SHARE, MIN_USD, AlertRule
from genledger.budgets.rules.rule import Rule
from genledger.ledger.query import Filter


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What rules look at besides the ledger.

    Attributes:
        budgets: The budgets of the file, for `pace`.
        tier_of: The plan tier of a tenant.
        keys: The digests of API keys that budgets have counted, and when each was first seen, in seconds since the
            epoch.
    """

    budgets: Sequence[Rule] = ()
    tier_of: Callable[[str | None], str | None] = field(default=lambda tenant: None)
    keys: Mapping[str, float] = field(default_factory=dict)


def least_impact(rule: AlertRule, history: History, days: int = 1) -> float:
    """Return the least impact of a window of so many days that the rule reports, in USD."""
    if rule.min_usd is not None:
        return rule.min_usd
    if rule.form == "plain":
        return 0.0
    return max(MIN_USD, MIN_SHARE * days * history.usual_day((), rule.timezone))


def midnight(when: datetime) -> datetime:
    """Return the beginning of a day."""
    return when.replace(hour=0, minute=0, second=0, microsecond=0)


def largest(history: History, where: Sequence[Filter], start: datetime, end: datetime) -> tuple[str, ...]:
    """Return the feature and the model that cost most in a window, with their shares."""
    named = {one.field for one in where if one.operator == "="}
    found = []
    for name in ("tenant", "feature", "model"):
        if name in named:
            continue
        rows = [row for row in history.rows(("cost",), start, end, by=(name,), where=where) if row["cost"]]
        whole = sum(row["cost"] for row in rows)
        if whole > 0 and rows[0][name] is not None:
            found.append(f"{rows[0]['cost'] / whole:.0%} from {name}={rows[0][name]}")
    return (", ".join(found),) if found else ()
