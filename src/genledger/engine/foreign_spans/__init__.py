"""Spans that other instrumentations make."""
