"""Budgets that hold: rules, stores, leases and the kill switch. See docs/budgets.md."""

from __future__ import annotations

from .admission import Admission
from .alerts import BudgetEvent
from .control import kill, revive, set_budget, set_tier, unset_budget
from .demand import Demand, hash_api_key
from .exceeded import BudgetExceeded
from .guard import Guard
from .routing import ModelChoice, chosen, route
from .rulefile import Rulebook, RuleFileError, read_rules
from .rules import Rule, RuleError, budget
from .stores import Store, StoreDown, open_store

__all__ = [
    "Admission",
    "BudgetEvent",
    "BudgetExceeded",
    "Demand",
    "Guard",
    "ModelChoice",
    "Rule",
    "RuleError",
    "RuleFileError",
    "Rulebook",
    "Store",
    "StoreDown",
    "budget",
    "chosen",
    "hash_api_key",
    "kill",
    "open_store",
    "read_rules",
    "revive",
    "route",
    "set_budget",
    "set_tier",
    "unset_budget",
]
