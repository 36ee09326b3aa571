"""AssemblyAI's streaming transcripts, over real sockets: what their row of the contract suite does not show."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.trace import get_current_span
from tests.contract.sockets.server import socket_server

from genledger_semconv.checker import assert_clean

from ..provider import now
from ..telemetry import Telemetry, instrumented

v3 = pytest.importorskip("assemblyai.streaming.v3")

from tests.contract.sockets.rows.assemblyai import client, transcribes  # noqa: E402


@pytest.fixture
def streaming() -> Iterator[Telemetry]:
    with instrumented(libraries=["assemblyai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


async def test_a_session_that_is_not_terminated_is_as_long_as_it_was_open(
    asynchronous: bool, streaming: Telemetry
) -> None:
    begun = threading.Event()
    around: list[bool] = []

    def note(client: Any, event: Any) -> None:
        around.append(get_current_span().is_recording())
        begun.set()

    with socket_server(transcribes) as server:
        one = client(server.address, asynchronous)
        one.on(v3.StreamingEvents.Begin, note)
        await now(one.connect(v3.StreamingParameters(sample_rate=16000)))
        assert await asyncio.to_thread(begun.wait, 30)
        await now(one.disconnect(terminate=False) if asynchronous else asyncio.to_thread(one.disconnect))
    attributes = streaming.attributes
    assert attributes["gen_ai.request.model"] == "universal-streaming-english"  # the documented default
    assert attributes["gen_ai.response.id"] == "s1"
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.usage.live_second"] > 0
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0
    assert around == [False], "a callback ran inside the call"


async def test_a_connection_that_is_refused_is_a_failed_call(asynchronous: bool, streaming: Telemetry) -> None:
    from websockets.sync.server import serve

    told: list[Any] = []
    with serve(lambda connection: None, "127.0.0.1", 0, process_request=lambda it, _: it.respond(401, "No")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        one = client(f"127.0.0.1:{server.socket.getsockname()[1]}", asynchronous)
        one.on(v3.StreamingEvents.Error, lambda client, error: told.append(error))
        await now(one.connect(v3.StreamingParameters(sample_rate=16000)))
        server.shutdown()
    assert len(told) == 1
    assert streaming.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in streaming.attributes


async def test_an_error_that_the_provider_sends_fails_the_call(asynchronous: bool, streaming: Telemetry) -> None:
    told = threading.Event()

    def script(message: Any) -> list[Any]:
        return [{"type": "Error", "error_code": 4029, "error": "Too much."}] if message is None else []

    with socket_server(script) as server:
        one = client(server.address, asynchronous)
        one.on(v3.StreamingEvents.Error, lambda client, error: told.set())
        await now(one.connect(v3.StreamingParameters(sample_rate=16000)))
        assert await asyncio.to_thread(told.wait, 30)
        await now(one.disconnect() if asynchronous else asyncio.to_thread(one.disconnect))
    assert streaming.attributes["genledger.outcome"] == "error"
    assert streaming.attributes["error.type"] == "4029"
