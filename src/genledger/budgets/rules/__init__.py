"""What may be spent: rules, their file, windows and plan tiers."""
