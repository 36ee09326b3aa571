"""What an instrumentor is made of."""
