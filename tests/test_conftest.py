"""What tests/conftest.py sets for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def test_no_property_fails_because_the_machine_is_slow() -> None:
    assert settings.default is not None
    assert settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
