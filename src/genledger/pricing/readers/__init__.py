"""Usage as each format reports it."""
