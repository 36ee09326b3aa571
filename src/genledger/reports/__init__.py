"""Reports on what the ledger holds: periods, questions, comparisons and their causes. No SQL is here."""
