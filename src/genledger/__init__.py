"""Genledger: every GenAI call becomes one priced, attributed span, and budgets hold before the call is paid for."""

from .attribution import attribution
from .bootstrap import flush, instrument, record_outcome, select_model, shutdown, spend, uninstrument
from .budgets.exceeded import BudgetExceeded
from .handlers import flush_after
from .observe import observe
from .version import __version__

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
