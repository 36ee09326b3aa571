"""ElevenLabs' sockets, over real ones: what their rows of the contract suite do not show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contract.sockets.server import socket_server

import genledger
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

pytest.importorskip("elevenlabs")

from tests.contract.sockets.rows.elevenlabs import TEXT, client, converse, converses, speaks

ASKED: dict[str, Any] = {"model_id": "eleven_flash_v2_5", "voice_settings": None}


@contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["elevenlabs"], **options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def test_speech_belongs_to_who_asked_for_it_and_is_sent_when_it_is_read() -> None:
    with recorded() as telemetry, socket_server(speaks) as server:
        speech = client(server.address, False).text_to_speech
        with genledger.attribution(tenant="acme"):
            stream = speech.convert_realtime("v1", text=iter([TEXT]), **ASKED)
        assert server.connections == 0
        assert b"".join(stream).decode() == f"{TEXT} "
        assert telemetry.attributes["genledger.tenant.id"] == "acme"
        assert telemetry.attributes["genledger.usage.character"] == len(TEXT) + 1


def test_speech_that_is_never_read_is_no_call() -> None:
    with recorded() as telemetry, socket_server(speaks) as server:
        stream = client(server.address, False).text_to_speech.convert_realtime("v1", text=iter([TEXT]), **ASKED)
        del stream
        assert server.connections == 0
        assert telemetry.spans == ()


def test_speech_whose_connection_is_refused_is_a_failed_call_that_costs_nothing() -> None:
    with recorded() as telemetry:
        with socket_server(speaks) as server:
            speech = client(server.address, False).text_to_speech
        with pytest.raises(OSError, match="refused"):
            list(speech.convert_realtime("v1", text=iter([TEXT]), **ASKED))
        assert telemetry.attributes["genledger.outcome"] == "error"
        assert telemetry.attributes["error.type"] == "ConnectionRefusedError"
        assert "genledger.cost.amount" not in telemetry.attributes


async def test_an_agent_has_the_price_that_the_user_gives_it(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    price = '[[price]]\nprovider = "elevenlabs"\nmodel = "conversational-ai"\nper_unit = { second = 1000000 }\n'
    prices.write_text(price)
    with recorded(prices=str(prices)) as telemetry, socket_server(converses) as server:
        async for said in converse(client(server.address, False)):
            assert said == TEXT
        seconds = telemetry.attributes["genledger.usage.second"]
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1e6 * seconds)
        assert telemetry.attributes["gen_ai.conversation.id"] == "c1"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of the oldest version's thread
async def test_a_conversation_that_cannot_connect_is_a_failed_call() -> None:
    with recorded() as telemetry:
        with socket_server(converses) as server:
            address = server.address
        try:
            async for _ in converse(client(address, False)):
                pass
        except OSError:  # raised by none of the newer versions
            pass
        assert telemetry.attributes["genledger.outcome"] == "error"
        assert "genledger.cost.unpriced" not in telemetry.attributes
