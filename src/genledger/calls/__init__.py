"""What happens around one call to a provider, once for all client libraries."""
