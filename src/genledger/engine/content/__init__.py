"""Content of calls: captured, bounded, redacted."""
