"""Which spans a destination gets."""
