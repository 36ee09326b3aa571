from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider

sys.path.insert(0, str(Path(__file__).parents[2]))

from genledger.destinations.delivery.remote_destination import Destination
from genledger.destinations.delivery.time_source import Clock
from standins.receivers import Collector, Langfuse


class SimulatedClock(Clock):
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.wall_offset_ns = 1_790_000_000 * 10**9

    def now(self) -> float:
        return self.seconds

    def wall_ns(self) -> int:
        return self.wall_offset_ns + int(self.seconds * 1e9)

    def run(self, seconds: float, *destinations: Destination) -> None:
        """Let so much time pass for deliveries without threads, each of which does what it does when it is due."""
        due = {delivery: self.seconds for one in destinations for delivery in one.deliveries()}
        end = self.seconds + seconds
        while due:
            delivery = min(due, key=lambda one: due[one])
            if due[delivery] > end:
                break
            self.seconds = max(self.seconds, due[delivery])
            due[delivery] = self.seconds + max(0.001, delivery.step())
        self.seconds = end


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def langfuse_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Langfuse]:
    with Langfuse() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", server.public_key)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", server.secret_key)
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.base_url)
        yield server


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.base_url)
        yield server


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("OTEL_", "LANGFUSE_", "GENLEDGER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    yield provider
    provider.shutdown()
