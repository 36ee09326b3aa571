"""Where telemetry goes: Langfuse, any OTLP endpoint, the local ledger; each behind its own queue and thread."""

from genledger.destinations.delivery.errors import ConfigurationError

__all__ = ["ConfigurationError"]
