"""Pydantic AI, which records its own agents, tools and models: switched on unless the application did so.

https://ai.pydantic.dev/logfire/
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider

from genledger.engine.recorder import active
from genledger.engine.steps import captures
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patches


class PydanticAIInstrumentor(Instrumentor):
    """Switches on what Pydantic AI records of its agents. Its spans are steps by the table of native spans."""

    library = "pydantic-ai"
    distribution = "pydantic-ai-slim"
    supports = "pydantic-ai-slim >= 2, < 3"

    _settings: Any = None

    def patches(self) -> Patches:
        """Return the hook that switches it on, once the whole package is there: its settings ask for the version."""
        return [Hook("pydantic_ai", self._switch_on, self._switch_off)]

    def _switch_on(self, module: ModuleType) -> None:
        recorder = active()
        if recorder is None or module.Agent._instrument_default is not False:
            return  # the application has chosen
        settings = sys.modules["pydantic_ai.models.instrumented"].InstrumentationSettings
        # Our metrics count the same calls.
        self._settings = settings(
            tracer_provider=recorder.tracer_provider,
            meter_provider=NoOpMeterProvider(),
            include_content=captures() is not None,
        )
        module.Agent.instrument_all(self._settings)

    def _switch_off(self, module: ModuleType) -> None:
        if self._settings is not None and module.Agent._instrument_default is self._settings:
            module.Agent.instrument_all(False)
        self._settings = None
