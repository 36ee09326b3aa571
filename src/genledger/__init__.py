"""Genledger: one priced, attributed span for every GenAI call, and budgets that are enforced before the call."""

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.context.attribution import attribution
from genledger.engine.application_api import record_outcome, select_model, spend
from genledger.engine.observe import observe
from genledger.integrations.serverless import flush_after
from genledger.setup.instrument import flush, instrument, shutdown, uninstrument
from genledger.version import __version__

__all__ = [
    "BudgetExceeded",
    "__version__",
    "attribution",
    "flush",
    "flush_after",
    "instrument",
    "observe",
    "record_outcome",
    "select_model",
    "shutdown",
    "spend",
    "uninstrument",
]
