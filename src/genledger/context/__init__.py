"""Who a call is for: attribution, agent runs and running totals of the current context."""
