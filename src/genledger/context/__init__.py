"""Attribution, agent runs and running totals of the current context."""
