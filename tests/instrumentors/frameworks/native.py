"""The global tracer provider of frameworks that record their own work, which there can be only one of.

It leads to the telemetry of the test that runs, and to nothing outside of tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.trace import (
    NoOpTracerProvider,
    Span,
    Tracer,
    TracerProvider,
    get_tracer_provider,
    set_tracer_provider,
)
from opentelemetry.util._decorator import _agnosticcontextmanager
from tests.instrumentors.telemetry import Telemetry, instrumented

_NOWHERE = NoOpTracerProvider()


class _Leading(TracerProvider):
    """Leads to another provider."""

    def __init__(self) -> None:
        self.to: TracerProvider = _NOWHERE

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        """Return a tracer that asks the other provider for each span."""
        return _LeadingTracer(self, args, kwargs)


class _LeadingTracer(Tracer):
    def __init__(self, provider: _Leading, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._provider = provider
        self._args = args
        self._kwargs = kwargs

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        return self._tracer.start_span(*args, **kwargs)

    @_agnosticcontextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[Span]:
        with self._tracer.start_as_current_span(*args, **kwargs) as span:
            yield span

    @property
    def _tracer(self) -> Tracer:
        return self._provider.to.get_tracer(*self._args, **self._kwargs)


_LEADING = _Leading()


@contextmanager
def native(**options: Any) -> Iterator[Telemetry]:
    """Instrument, with the frameworks' own spans in the same telemetry. Takes the options of `genledger.instrument`."""
    if get_tracer_provider() is not _LEADING:
        set_tracer_provider(_LEADING)
    with instrumented(**options) as telemetry:
        _LEADING.to = telemetry.tracer_provider
        try:
            yield telemetry
        finally:
            _LEADING.to = _NOWHERE
