"""Other vendors' instrumentation of the OpenAI client, active on the same client and provider as Genledger's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import ReadableSpan

import genledger

from ..instrumentors.conftest import ledger, provider
from ..instrumentors.telemetry import Telemetry, attributes_of

__all__ = ["ledger", "provider"]

ORDERS = {"ours first": True, "theirs first": False}


@dataclass(frozen=True)
class Neighbour:
    """Another vendor's instrumentation: the distribution it comes in, and its package, which is its scope as well."""

    distribution: str
    package: str

    def instrumentor(self) -> Any:
        return import_module(self.package).OpenAIInstrumentor()


NEIGHBOURS = [
    Neighbour("opentelemetry-instrumentation-genai-openai", "opentelemetry.instrumentation.genai.openai"),
    Neighbour("openinference-instrumentation-openai", "openinference.instrumentation.openai"),
]


def _missing() -> list[str]:
    names = []
    for neighbour in NEIGHBOURS:
        try:
            version(neighbour.distribution)
        except PackageNotFoundError:
            names.append(neighbour.distribution)
    return names


# They stand in an environment of their own (`make test-neighbours`); elsewhere there is nothing to test.
collect_ignore_glob = ["test_*.py"] if _missing() else []


class Street(Telemetry):
    """What both have said, one provider for all."""

    def __init__(self, neighbour: Neighbour) -> None:
        super().__init__()
        self.neighbour = neighbour
        self.their = neighbour.instrumentor()

    def start_theirs(self) -> None:
        self.their.instrument(tracer_provider=self.tracer_provider, skip_dep_check=True)

    def stop_theirs(self) -> None:
        if self.their.is_instrumented_by_opentelemetry:
            self.their.uninstrument()

    def start_ours(self, **options: Any) -> None:
        genledger.instrument(
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            logger_provider=self.logger_provider,
            destinations=[],
            **options,
        )

    @property
    def ours(self) -> list[ReadableSpan]:
        """Our spans of calls."""
        return [span for span in self.spans if scope(span).startswith("genledger")]

    @property
    def theirs(self) -> list[ReadableSpan]:
        """The neighbour's spans of calls."""
        return [span for span in self.spans if scope(span).startswith(self.neighbour.package)]

    @property
    def bearing_cost(self) -> list[ReadableSpan]:
        """All spans that say what a call cost."""
        return [span for span in self.spans if "genledger.cost.amount" in attributes_of(span)]


def counted_usd(telemetry: Telemetry) -> float:
    """What the metric says that everything cost."""
    genledger.flush()  # a new series is 0 in its first collection
    found = telemetry.metrics
    return sum(
        point.value
        for resource in (found.resource_metrics if found is not None else ())
        for scope_metrics in resource.scope_metrics
        for metric in scope_metrics.metrics
        if metric.name == "genledger.cost"
        for point in metric.data.data_points
    )


def scope(span: ReadableSpan) -> str:
    """Who made a span."""
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


@contextmanager
def side_by_side(neighbour: Neighbour, *, ours_first: bool, **options: Any) -> Iterator[Street]:
    """Both instrumentations active, made so in the given order, for a while."""
    street = Street(neighbour)
    starts = [lambda: street.start_ours(**options), street.start_theirs]
    for start in starts if ours_first else reversed(starts):
        start()
    try:
        yield street
    finally:
        for stop in (
            [genledger.uninstrument, street.stop_theirs] if ours_first else [street.stop_theirs, genledger.uninstrument]
        ):
            stop()
        for client in (openai.OpenAI, openai.AsyncOpenAI):
            if "request" in vars(client):  # OpenInference leaves one of the client's own behind, where there was none
                del client.request
        street.tracer_provider.shutdown()
        street.meter_provider.shutdown()
        street.logger_provider.shutdown()


@pytest.fixture(params=NEIGHBOURS, ids=lambda neighbour: neighbour.package.split(".")[0])
def neighbour(request: pytest.FixtureRequest) -> Neighbour:
    return request.param


@pytest.fixture(params=ORDERS.values(), ids=ORDERS)
def ours_first(request: pytest.FixtureRequest) -> bool:
    return request.param
