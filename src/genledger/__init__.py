"""Genledger: one priced, attributed span for every GenAI call, and budgets that are enforced before the call.

Importing this package is cheap: each name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from genledger.shared.lazy import lazy
from genledger.version import __version__

if TYPE_CHECKING:
    from genledger import budgets, pricing
    from genledger.budgets.enforcement.exceeded import BudgetExceeded
    from genledger.context.attribution import AttributionBlock, attribution
    from genledger.context.totals import Spend
    from genledger.engine.application_api import select_model, spend
    from genledger.engine.cache_hits import record_cache_hit
    from genledger.engine.observe import Observation, ObservedBlock, observe
    from genledger.engine.product_outcomes import record_outcome
    from genledger.integrations.serverless import flush_after
    from genledger.setup.framework_handlers import langchain_handler
    from genledger.setup.instrument import flush, instrument, shutdown, uninstrument
else:  # hidden from type checkers, which would take every name for one of these
    __getattr__ = lazy(
        __name__,
        {
            "budgets": "",
            "budgets.enforcement.exceeded": "BudgetExceeded",
            "context.attribution": "AttributionBlock attribution",
            "context.totals": "Spend",
            "engine.application_api": "select_model spend",
            "engine.cache_hits": "record_cache_hit",
            "engine.observe": "Observation ObservedBlock observe",
            "engine.product_outcomes": "record_outcome",
            "integrations.serverless": "flush_after",
            "pricing": "",
            "setup.framework_handlers": "langchain_handler",
            "setup.instrument": "flush instrument shutdown uninstrument",
        },
    )

__all__ = [
    "AttributionBlock",
    "BudgetExceeded",
    "Observation",
    "ObservedBlock",
    "Spend",
    "__version__",
    "attribution",
    "budgets",
    "flush",
    "flush_after",
    "instrument",
    "langchain_handler",
    "observe",
    "pricing",
    "record_cache_hit",
    "record_outcome",
    "select_model",
    "shutdown",
    "spend",
    "uninstrument",
]


def __dir__() -> list[str]:
    return __all__
