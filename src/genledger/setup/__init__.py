"""`instrument()`: settings, providers, destinations and instrumentors; exit and flush."""
