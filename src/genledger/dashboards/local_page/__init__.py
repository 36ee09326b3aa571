"""The local page: the dashboards, answered from the ledger, in a browser without network access."""
