"""Budgets: rules, stores, leases and the kill switch. See docs/budgets.md.

Importing this package is cheap: the guard is loaded when the first call asks for it.
"""

from typing import TYPE_CHECKING

from genledger.budgets.enforcement.exceeded import BudgetExceeded as BudgetExceeded
from genledger.budgets.enforcement.request import BudgetRequest as BudgetRequest
from genledger.budgets.enforcement.request import hash_api_key as hash_api_key
from genledger.shared.lazy import lazy

if TYPE_CHECKING:
    from genledger.budgets.budget_alerts import BudgetEvent as BudgetEvent
    from genledger.budgets.enforcement.guard import Guard as Guard
    from genledger.budgets.enforcement.kill_switch import kill as kill
    from genledger.budgets.enforcement.kill_switch import revive as revive
    from genledger.budgets.enforcement.kill_switch import set_budget as set_budget
    from genledger.budgets.enforcement.kill_switch import set_tier as set_tier
    from genledger.budgets.enforcement.kill_switch import unset_budget as unset_budget
    from genledger.budgets.enforcement.reservation import Reservation as Reservation
    from genledger.budgets.rules.model_routing import ModelChoice as ModelChoice
    from genledger.budgets.rules.model_routing import chosen as chosen
    from genledger.budgets.rules.rule import Route as Route
    from genledger.budgets.rules.rule import Rule as Rule
    from genledger.budgets.rules.rule import budget as budget
    from genledger.budgets.rules.rule import route as route
    from genledger.budgets.rules.rule_file import Rulebook as Rulebook
    from genledger.budgets.rules.rule_file import RuleFileError as RuleFileError
    from genledger.budgets.rules.rule_file import read_rules as read_rules
    from genledger.budgets.rules.scope import RuleError as RuleError
    from genledger.budgets.stores import Store as Store
    from genledger.budgets.stores import StoreDown as StoreDown
    from genledger.budgets.stores import open_store as open_store
else:  # hidden from type checkers, which would take every name for one of these
    __getattr__ = lazy(
        __name__,
        {
            "budget_alerts": "BudgetEvent",
            "enforcement.guard": "Guard",
            "enforcement.kill_switch": "kill revive set_budget set_tier unset_budget",
            "enforcement.reservation": "Reservation",
            "rules.model_routing": "ModelChoice chosen",
            "rules.rule": "Route Rule budget route",
            "rules.rule_file": "Rulebook RuleFileError read_rules",
            "rules.scope": "RuleError",
            "stores": "Store StoreDown open_store",
        },
    )
