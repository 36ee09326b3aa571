"""A process's slices of shared budgets."""
