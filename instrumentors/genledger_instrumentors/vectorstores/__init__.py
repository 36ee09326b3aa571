"""Vector stores, one module each."""
