"""Budgets that hold: rules, stores, leases and the kill switch. See docs/budgets.md.

Importing this package is cheap: the guard is loaded when the first call asks for it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .demand import Demand, hash_api_key
from .exceeded import BudgetExceeded

if TYPE_CHECKING:
    from .admission import Admission
    from .alerts import BudgetEvent
    from .choice import ModelChoice, chosen
    from .control import kill, revive, set_budget, set_tier, unset_budget
    from .guard import Guard
    from .routing import route
    from .rulefile import Rulebook, RuleFileError, read_rules
    from .rules import Rule, RuleError, budget
    from .stores import Store, StoreDown, open_store

_HOMES = {
    "Admission": "admission",
    "BudgetEvent": "alerts",
    "Guard": "guard",
    "ModelChoice": "choice",
    "Rule": "rules",
    "RuleError": "rules",
    "RuleFileError": "rulefile",
    "Rulebook": "rulefile",
    "Store": "stores",
    "StoreDown": "stores",
    "budget": "rules",
    "chosen": "choice",
    "kill": "control",
    "open_store": "stores",
    "read_rules": "rulefile",
    "revive": "control",
    "route": "routing",
    "set_budget": "control",
    "set_tier": "control",
    "unset_budget": "control",
}

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


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
