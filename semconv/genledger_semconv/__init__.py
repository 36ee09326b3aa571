"""Every name that Genledger emits, as constants and as data, and a checker for them.

Constants: `attributes`, `metrics`, `events`, `spans`; none of them reads a file.
Data: `registry`. Checker: `checker`.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
"""Schema URL of our tracers, meters and loggers: the GenAI conventions, which have no release yet."""
