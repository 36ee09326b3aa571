"""The error of a destination that is set up wrong."""

from __future__ import annotations


class ConfigurationError(ValueError):
    """A destination cannot work as configured. The message is one line: what, where, and what to do."""
