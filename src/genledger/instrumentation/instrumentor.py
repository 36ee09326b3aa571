"""Base of every instrumentor: patches on import, under any distribution of OpenTelemetry."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection
from typing import Any, ClassVar, Protocol, Self

from opentelemetry import metrics, trace

from genledger.engine.recorder import SCOPE, Recorder, activate, active, recorded_libraries
from genledger.engine.signals.metrics import Metrics
from genledger.instrumentation.chosen import is_chosen_by
from genledger.instrumentation.patching import Patcher, Patches
from genledger.shared.at_exit import run_at_exit
from genledger_semconv import SCHEMA_URL

_AT_EXIT_S = 5.0


class Adapter(Protocol):
    """What knows how a kind of client is patched."""

    def patches(self) -> Patches:
        """Return the methods to patch, and their wrappers."""
        ...


class Instrumentor:
    """Base class of instrumentors. Each class has one instance.

    It has the interface of OpenTelemetry's `BaseInstrumentor`, so that every distribution can load it, without the
    dependency checks behind that class: they take longer to import than the rest of the start, and an unsupported
    version is reported by `genledger doctor`.

    Attributes:
        library: Name of the library for users: that of the entry point.
        distribution: Distribution on the package index.
        supports: Tested versions, as a requirement.
        client: Adapter of the client library, if all patches are its own.
    """

    library: ClassVar[str]
    distribution: ClassVar[str]
    supports: ClassVar[str]
    client: ClassVar[Adapter]

    _instance: ClassVar[Self | None] = None
    _patcher: Patcher | None = None

    def __new__(cls) -> Self:
        if cls.__dict__.get("_instance") is None:
            cls._instance = super().__new__(cls)
        return cls._instance  # type: ignore[return-value]

    def patches(self) -> Patches:
        """Return the methods to patch, and their wrappers: by default those of `client`."""
        return self.client.patches()

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the requirement for the installed library."""
        return (self.supports,)

    def instrument(self, **kwargs: Any) -> None:
        """Patch the library, now or on import, unless a variable excludes it. A second call has no effect.

        Distributions call this for every instrumentor that is installed.

        Args:
            **kwargs: `tracer_provider` and `meter_provider` are used if no recorder is set up.
        """
        disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        if disabled or not is_chosen_by(os.environ, self.library):
            return
        if active() is None:
            # Under a distribution other than ours, whatever providers there are get the telemetry.
            tracer = trace.get_tracer(SCOPE, None, kwargs.get("tracer_provider"), SCHEMA_URL)
            meter = metrics.get_meter(SCOPE, "", kwargs.get("meter_provider"), SCHEMA_URL)
            recorder = Recorder(tracer, Metrics(meter), tracer_provider=kwargs.get("tracer_provider"))
            activate(recorder)
            run_at_exit(functools.partial(_flush, recorder))
            provider = kwargs.get("tracer_provider") or trace.get_tracer_provider()
            if hasattr(provider, "add_span_processor"):
                # Beside other instrumentations of the same client, one call is priced once there as well.
                from genledger.engine.foreign_spans.delegating_processor import delegating_processor_of
                from genledger.engine.foreign_spans.processor import ForeignSpanProcessor

                delegating = delegating_processor_of(provider)
                if delegating is not None:
                    delegating.connect(ForeignSpanProcessor(SCOPE))
        self.apply()

    def apply(self) -> None:
        """Patch the library, now or on import, whatever the variables say. A second call has no effect."""
        if self._patcher is None:
            self._patcher = Patcher(self.patches())
        self._patcher.apply()
        recorded_libraries.add(self.library)

    def uninstrument(self, **kwargs: Any) -> None:
        """Remove the patches."""
        if self._patcher is not None:
            self._patcher.restore()
        recorded_libraries.discard(self.library)

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Return whether the patches are applied, or wait for the library's import."""
        return self._patcher is not None and self._patcher.active

    @property
    def patched(self) -> list[str]:
        """Return the currently patched attributes."""
        return self._patcher.patched if self._patcher is not None else []


def _flush(recorder: Recorder) -> None:
    recorder.flush(_AT_EXIT_S)
