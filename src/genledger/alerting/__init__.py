"""Alerts: rules, their evaluation on the ledger, and what they do. See docs/alerts.md."""
