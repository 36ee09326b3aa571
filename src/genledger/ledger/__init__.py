"""The ledger: a local SQLite file of calls, outcomes and scores, and the questions one asks of it."""

from genledger.ledger.rows import Score, Step
from genledger.ledger.schema import LedgerError, LedgerLocked, LedgerStartedOver
from genledger.ledger.store import Ledger, default_path

__all__ = ["Ledger", "LedgerError", "LedgerLocked", "LedgerStartedOver", "Score", "Step", "default_path"]
