"""The entry points of `opentelemetry-instrument`: the same as `instrument()`, without code changes."""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from genledger.setup import instrument
from genledger.setup.settings import read_settings


class GenledgerDistro(BaseDistro):  # type: ignore[misc]
    """Distribution, loaded first. The launcher loads all instrumentors, including other vendors'."""

    def _configure(self, **kwargs: Any) -> None:
        """Choose our configurator, whichever others are installed: it was our distribution that was asked for."""
        os.environ.setdefault("OTEL_PYTHON_CONFIGURATOR", "genledger")


class GenledgerConfigurator:
    """Set up providers and destinations from the environment."""

    def configure(self, **kwargs: Any) -> None:
        """Called by the launcher before it loads the instrumentors."""
        instrument.configure(*read_settings({}))
