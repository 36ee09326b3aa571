"""Building blocks of instrumentors."""
