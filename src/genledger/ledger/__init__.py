"""The ledger: a local SQLite file of calls, outcomes and scores, and the questions one asks of it."""

from .rows import Score, Step
from .schema import LedgerError, LedgerLocked, LedgerStartedOver
from .store import Ledger, default_path

__all__ = ["Ledger", "LedgerError", "LedgerLocked", "LedgerStartedOver", "Score", "Step", "default_path"]
