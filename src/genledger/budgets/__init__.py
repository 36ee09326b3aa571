"""Budgets that hold: rules, stores, leases and the kill switch. See docs/budgets.md.

Importing this package is cheap: the guard is loaded when the first call asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.budgets.enforcement.request import BudgetRequest, hash_api_key

if TYPE_CHECKING:
    from genledger.budgets.budget_alerts import BudgetEvent
    from genledger.budgets.enforcement.guard import Guard
    from genledger.budgets.enforcement.kill_switch import kill, revive, set_budget, set_tier, unset_budget
    from genledger.budgets.enforcement.reservation import Reservation
    from genledger.budgets.rules.model_choice import ModelChoice, chosen
    from genledger.budgets.rules.model_routing import route
    from genledger.budgets.rules.rule import Rule, RuleError, budget
    from genledger.budgets.rules.rule_file import Rulebook, RuleFileError, read_rules
    from genledger.budgets.stores import Store, StoreDown, open_store

_HOMES = {
    "Reservation": "genledger.budgets.enforcement.reservation",
    "budget": "genledger.budgets.rules.rule",
    "BudgetEvent": "genledger.budgets.budget_alerts",
    "chosen": "genledger.budgets.rules.model_choice",
    "Guard": "genledger.budgets.enforcement.guard",
    "kill": "genledger.budgets.enforcement.kill_switch",
    "ModelChoice": "genledger.budgets.rules.model_choice",
    "open_store": "genledger.budgets.stores",
    "read_rules": "genledger.budgets.rules.rule_file",
    "revive": "genledger.budgets.enforcement.kill_switch",
    "route": "genledger.budgets.rules.model_routing",
    "Rule": "genledger.budgets.rules.rule",
    "Rulebook": "genledger.budgets.rules.rule_file",
    "RuleError": "genledger.budgets.rules.rule",
    "RuleFileError": "genledger.budgets.rules.rule_file",
    "set_budget": "genledger.budgets.enforcement.kill_switch",
    "set_tier": "genledger.budgets.enforcement.kill_switch",
    "Store": "genledger.budgets.stores",
    "StoreDown": "genledger.budgets.stores",
    "unset_budget": "genledger.budgets.enforcement.kill_switch",
}

__all__ = [
    "BudgetEvent",
    "BudgetExceeded",
    "BudgetRequest",
    "Guard",
    "ModelChoice",
    "Reservation",
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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
