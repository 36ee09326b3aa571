"""Recording of one call, from its start to its end."""
