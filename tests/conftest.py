"""What every test starts with: no limit of time, no state of the user, no global tracer provider."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.util._once import Once

with suppress(ModuleNotFoundError):  # the environments of tests/compat and tests/neighbours have none
    from hypothesis import HealthCheck, settings

    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def no_user_state() -> Iterator[None]:
    """Keep the user's own ledger, budgets and kill switches out of the tests, and the tests out of them."""
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        os.environ["XDG_STATE_HOME"] = directory
        yield
        if before is None:
            del os.environ["XDG_STATE_HOME"]
        else:
            os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(autouse=True)
def no_global_tracer_provider() -> Iterator[None]:
    """Take back the global tracer provider that a test sets, so that the next one does not depend on it.

    Clients with telemetry of their own, such as Anthropic's, behave differently where there is one.
    """
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    yield
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before
