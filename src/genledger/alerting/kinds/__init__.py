"""What each kind of rule asks the ledger, and the decisions about the answers."""
