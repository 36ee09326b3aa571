"""Deepgram's sockets, over real ones: what their rows of the contract suite do not show."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import get_current_span
from tests.contract.sockets.server import SocketServer, socket_server

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import Within, items, now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("deepgram")

from tests.contract.row import at_least
from tests.contract.sockets.rows.deepgram import (
    END,
    FLUX,
    LISTEN,
    METADATA,
    SOUND,
    client,
    converses,
    heard,
    listens,
    listens_in_turns,
    send,
)


@contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["deepgram"], **options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def listening() -> Iterator[Telemetry]:
    with recorded() as telemetry:
        yield telemetry


async def spoken(opened: Any, *messages: Any, limit: int | None = None) -> list[Any]:
    async with Within(opened) as connection:
        for message in messages:
            await now(send(connection, message))
        return await items(connection, limit)


async def test_a_session_that_never_says_how_long_it_was_is_as_long_as_what_was_sent(
    asynchronous: bool, listening: Telemetry
) -> None:
    with socket_server(listens) as server:
        await spoken(client(server.address, asynchronous).listen.v1.connect(**LISTEN), SOUND, SOUND, SOUND, limit=2)
    assert listening.attributes["genledger.outcome"] == "cancelled"
    assert listening.attributes["genledger.usage.live_second"] == pytest.approx(3)
    assert listening.attributes["genledger.usage.estimated"] is True
    assert listening.attributes["genledger.cost.amount"] == pytest.approx(3 * 0.0077 / 60)


@pytest.mark.skipif(not at_least("deepgram-sdk", 7), reason="the address of the second generation was another one")
async def test_the_second_generation_is_measured_and_ends_with_its_connection(
    asynchronous: bool, listening: Telemetry
) -> None:
    with socket_server(listens_in_turns) as server:
        await spoken(client(server.address, asynchronous).listen.v2.connect(**FLUX), SOUND, SOUND, END)
    assert listening.attributes["genledger.outcome"] == "success"
    assert listening.attributes["genledger.usage.live_second"] == pytest.approx(2)
    assert listening.attributes["genledger.usage.estimated"] is True
    assert listening.attributes["gen_ai.response.id"] == "r1"


async def test_each_channel_is_billed_where_each_is_transcribed(asynchronous: bool, listening: Telemetry) -> None:
    def script(message: Any) -> list[Any]:
        return [{**METADATA, "channels": 2}, 1000] if message == END else []

    asked = {**LISTEN, "multichannel": "true", "channels": "2", "language": "multi"}
    with socket_server(script) as server:
        await spoken(client(server.address, asynchronous).listen.v1.connect(**asked), SOUND, END)
    assert listening.attributes["genledger.usage.multilingual_live_second"] == 4
    assert listening.attributes["genledger.cost.amount"] == pytest.approx(4 * 0.0092 / 60)


async def test_a_refused_connection_is_a_failed_call_that_costs_nothing(
    asynchronous: bool, listening: Telemetry
) -> None:
    from websockets.sync.server import serve

    with serve(lambda connection: None, "127.0.0.1", 0, process_request=lambda it, _: it.respond(429, "No")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        with pytest.raises(Exception, match="429"):
            await spoken(client(address, asynchronous).listen.v1.connect(**LISTEN))
        server.shutdown()
    assert listening.attributes["genledger.outcome"] == "rate_limited"
    assert "genledger.cost.amount" not in listening.attributes


async def test_an_error_that_the_provider_sends_fails_the_call(asynchronous: bool, listening: Telemetry) -> None:
    error = {"type": "Error", "variant": "SchemaError", "code": "DATA-0000", "description": "No.", "message": "x"}

    def script(message: Any) -> list[Any]:
        return [heard(0, 1, "One."), error, 1011] if isinstance(message, bytes) else []

    with socket_server(script) as server:
        opened = client(server.address, asynchronous).listen.v1.connect(**LISTEN)
        try:
            await spoken(opened, SOUND)
        except Exception:  # the oldest version does not know the message
            pass
    assert listening.attributes["genledger.outcome"] == "error"
    assert listening.attributes["genledger.usage.live_second"] == 1


async def test_callbacks_are_heard_and_run_outside_of_the_call(asynchronous: bool, listening: Telemetry) -> None:
    from deepgram.core.events import EventType

    around: list[Any] = []
    with socket_server(listens) as server:
        async with Within(client(server.address, asynchronous).listen.v1.connect(**LISTEN)) as connection:
            connection.on(EventType.MESSAGE, lambda message: around.append(get_current_span().is_recording()))
            if asynchronous:
                task = asyncio.create_task(connection.start_listening())
            else:
                task = asyncio.create_task(asyncio.to_thread(connection.start_listening))
            for message in (SOUND, SOUND, END):
                await now(send(connection, message))
            await asyncio.wait_for(task, 30)
    assert around == [False] * 3
    assert listening.attributes["genledger.usage.live_second"] == 2
    assert listening.attributes["genledger.outcome"] == "success"


@pytest.mark.skipif(not at_least("deepgram-sdk", 7), reason="there was no second generation")
async def test_the_second_generation_of_speech_is_priced_by_what_it_bills(
    asynchronous: bool, listening: Telemetry
) -> None:
    def script(message: Any) -> list[Any]:
        counted = {"speech_id": "s1", "audio_duration_ms": 1, "input_character_count": 5, "controls_applied": {}}
        return [{"type": "SpeechMetadata", **counted, "billable_character_count": 4}] if message else []

    with socket_server(script) as server:
        opened = client(server.address, asynchronous).speak.v2.connect(model="aura-2-thalia-en")
        await spoken(opened, {"type": "Speak", "text": "Paris"}, limit=1)
    assert listening.attributes["genledger.usage.character"] == 4
    assert listening.attributes["genledger.outcome"] == "success"


async def test_an_agent_has_the_price_that_the_user_gives_it(asynchronous: bool, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nprovider = "deepgram"\nmodel = "voice-agent"\nper_unit = { second = 1000000 }\n')
    with recorded(prices=str(prices)) as telemetry, socket_server(converses) as server:
        opened = client(server.address, asynchronous).agent.v1.connect()
        await spoken(opened, {"type": "Settings"}, limit=3)
        seconds = telemetry.attributes["genledger.usage.second"]
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1e6 * seconds)
        assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_what_the_application_has_is_what_it_had(asynchronous: bool) -> None:
    async def seen(server: SocketServer) -> list[Any]:
        async with Within(client(server.address, asynchronous).listen.v1.connect(**LISTEN)) as connection:
            return [type(connection), vars(connection).keys(), type(connection._websocket)]

    with socket_server(listens) as server:
        before = await seen(server)
        with recorded(), genledger.attribution(tenant="acme"):
            assert await seen(server) == before
    assert json.loads(json.dumps(LISTEN)) == LISTEN
