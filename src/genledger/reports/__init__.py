"""Reports on what the ledger holds: periods, questions and comparisons. SQL is in `genledger.ledger`."""
