"""Budget rules, their file, windows and plan tiers."""
