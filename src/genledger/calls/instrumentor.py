"""The base of every instrumentor: patches on import, under any distribution of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from genledger_semconv import SCHEMA_URL

from .metrics import Metrics
from .patching import Patcher, Patches
from .recorder import Recorder, activate, active

SCOPE = "genledger"
"""The instrumentation scope of everything we emit."""


class Instrumentor(BaseInstrumentor):  # type: ignore[misc]
    """An instrumentor is its patches.

    Attributes:
        library: The import package that is patched.
        distribution: The distribution that provides it, on the package index.
        supports: The versions that are tested, as a requirement.
    """

    library: ClassVar[str]
    distribution: ClassVar[str]
    supports: ClassVar[str]

    _patcher: Patcher | None = None

    def patches(self) -> Patches:
        """What to patch, and with what."""
        raise TypeError(f"{type(self).__name__} must say what it patches")

    def instrumentation_dependencies(self) -> Collection[str]:
        """The requirement that the installed library has to meet."""
        return (self.supports,)

    def _instrument(self, **kwargs: Any) -> None:
        if active() is None:
            # Under a distribution other than ours nobody has set up a recorder: whatever providers there are
            # get the telemetry.
            tracer = trace.get_tracer(SCOPE, None, kwargs.get("tracer_provider"), SCHEMA_URL)
            meter = metrics.get_meter(SCOPE, "", kwargs.get("meter_provider"), SCHEMA_URL)
            activate(Recorder(tracer, Metrics(meter)))
        if self._patcher is None:
            self._patcher = Patcher(self.patches())
        self._patcher.apply()

    def _uninstrument(self, **kwargs: Any) -> None:
        if self._patcher is not None:
            self._patcher.restore()

    @property
    def patched(self) -> list[str]:
        """The attributes that are patched at this moment."""
        return self._patcher.patched if self._patcher is not None else []
