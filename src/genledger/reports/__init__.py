"""Reports on the ledger: what it says about a time, compared and explained."""
