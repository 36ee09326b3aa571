"""Agent frameworks: one module for each."""
