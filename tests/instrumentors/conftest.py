"""What every test of an instrumentor starts with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.server import Server, serving

from genledger_semconv.checker import assert_clean

from .provider import Provider
from .telemetry import Telemetry, instrumented


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger file: one of its own for every test."""
    path = tmp_path / "ledger.db"
    monkeypatch.setenv("GENLEDGER_LEDGER", str(path))
    return path


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def provider(request: pytest.FixtureRequest) -> Provider:
    """A provider's end, once for synchronous and once for asynchronous clients."""
    return Provider(asynchronous=request.param)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Genledger on both SDKs, content off; what it said is checked against the registry in the end."""
    with instrumented() as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    """As `telemetry`, with content on."""
    with instrumented(capture_content="both") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def server() -> Iterator[Server]:
    """A provider on loopback."""
    with serving() as server:
        yield server


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    """Which kind of client is used."""
    return bool(request.param)
