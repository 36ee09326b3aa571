"""Langfuse as a destination."""
