"""The suite that runs against the oldest and the newest of each major version of the SDKs."""

from __future__ import annotations

from ..instrumentors.conftest import ledger, provider, telemetry

__all__ = ["ledger", "provider", "telemetry"]
