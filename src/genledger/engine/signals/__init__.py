"""The metrics, events and log lines of calls and steps."""
