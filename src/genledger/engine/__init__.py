"""What happens around one call."""
