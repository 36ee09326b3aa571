"""The ledger: a local SQLite file of calls, steps and outcomes, and the questions one asks of it."""

from genledger.ledger.schema import LedgerError, LedgerLocked, LedgerStartedOver
from genledger.ledger.store import Ledger, default_path

__all__ = ["Ledger", "LedgerError", "LedgerLocked", "LedgerStartedOver", "default_path"]
