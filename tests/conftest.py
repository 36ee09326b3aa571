"""How fast the machine is, or what else it does, is no failure of a property."""

from __future__ import annotations

from contextlib import suppress

with suppress(ModuleNotFoundError):  # the environments of tests/compat and tests/neighbours have none
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
