"""ElevenLabs' client, over real sockets: what its transcription row of the contract suite does not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import pytest
from tests.contract.rows.elevenlabs import MODEL, SECONDS, Client, transcript
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

elevenlabs = pytest.importorskip("elevenlabs")

SPOKEN = "Hello, Paris."
VOICE = "JBFqnCBsd6RMkjVDRZzb"


def sound(**headers: str) -> Reply:
    return Reply(200, "audio/mpeg", (b"one", b"two", b"three"), {"request-id": "r1", **headers})


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["elevenlabs"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return Client(server.url, asynchronous, 0).sdk


@pytest.mark.parametrize("method", ["convert", "stream"])
async def test_speech_stays_an_iterator_of_bytes_and_is_priced_by_characters(
    server: Server, client: Any, capturing: Telemetry, method: str
) -> None:
    server.will(sound())
    stream = getattr(client.text_to_speech, method)(VOICE, text=SPOKEN, model_id="eleven_multilingual_v2")
    assert type(stream) in (GeneratorType, AsyncGeneratorType)
    assert server.requests == []
    assert b"".join(await items(stream)) == b"onetwothree"
    attributes = capturing.attributes
    assert capturing.span.name == "speech eleven_multilingual_v2"
    assert attributes["genledger.usage.character"] == len(SPOKEN)
    assert attributes["genledger.cost.amount"] == pytest.approx(len(SPOKEN) * 80e-6)
    assert attributes["gen_ai.response.id"] == "r1"
    assert SPOKEN in attributes["gen_ai.input.messages"]


async def test_a_model_at_half_the_price_costs_half(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(sound())
    await items(client.text_to_speech.convert(VOICE, text=SPOKEN, model_id="eleven_flash_v2_5"))
    assert capturing.attributes["genledger.cost.amount"] == pytest.approx(len(SPOKEN) * 40e-6)


async def test_the_credits_that_a_header_says_are_what_is_paid(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(sound(**{"character-cost": "7"}))
    await items(client.text_to_speech.convert(VOICE, text=SPOKEN, model_id="eleven_flash_v2_5"))
    attributes = capturing.attributes
    assert attributes["genledger.usage.credit"] == 7
    assert "genledger.usage.character" not in attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(7 * 80e-6)


async def test_speech_with_timestamps_is_paid_whole_and_streamed(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    chunk = {"audio_base64": "b25l", "alignment": None, "normalized_alignment": None}
    server.will(json_reply(chunk))
    speak = client.text_to_speech
    await now(speak.convert_with_timestamps(VOICE, text=SPOKEN))
    lines = tuple(json.dumps(chunk).encode() + b"\n" for _ in range(3))
    server.will(Reply(200, "application/json", lines))
    assert len(await items(speak.stream_with_timestamps(VOICE, text=SPOKEN))) == 3
    costs = [dict(span.attributes or {})["genledger.cost.amount"] for span in capturing.spans]
    assert costs == [pytest.approx(len(SPOKEN) * 80e-6)] * 2


async def test_speech_that_is_not_read_to_its_end_is_cancelled_and_paid(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(Reply(200, "audio/mpeg", (b"one",), hangs=True))
    stream = client.text_to_speech.stream(VOICE, text=SPOKEN, request_options={"chunk_size": 1})
    await items(stream, 1)
    await now(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    attributes = capturing.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.cost.amount"] == pytest.approx(len(SPOKEN) * 80e-6)


async def test_speech_belongs_to_who_asked_for_it(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(sound())
    with genledger.attribution(tenant="asked"):
        stream = client.text_to_speech.convert(VOICE, text=SPOKEN)
    with genledger.attribution(tenant="reads"):
        await items(stream)
    assert capturing.attributes["genledger.tenant.id"] == "asked"


async def test_a_dialogue_is_priced_by_all_its_lines(server: Server, client: Any, capturing: Telemetry) -> None:
    if not hasattr(client, "text_to_dialogue"):
        pytest.skip("older than dialogues")
    server.will(sound())
    inputs = [{"text": "Hello?", "voice_id": "a"}, {"text": "Yes.", "voice_id": "b"}]
    await items(client.text_to_dialogue.convert(inputs=inputs))
    attributes = capturing.attributes
    assert capturing.span.name == "speech eleven_v3"
    assert attributes["genledger.cost.amount"] == pytest.approx(10 * 80e-6)
    assert "Hello?" in attributes["gen_ai.input.messages"]


async def test_a_sound_is_visibly_unpriced_and_its_credits_are_counted(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(sound(**{"character-cost": "330"}))
    assert b"".join(await items(client.text_to_sound_effects.convert(text="rain", duration_seconds=22))) == (
        b"onetwothree"
    )
    attributes = capturing.attributes
    assert capturing.span.name == "generate_content eleven_text_to_sound_v2"
    assert attributes["genledger.usage.credit"] == 330
    assert attributes["genledger.cost.unpriced"]
    assert "rain" in attributes["gen_ai.input.messages"]


async def test_the_users_price_of_a_credit_prices_a_sound(server: Server, client: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nprovider="elevenlabs"\nmodel="*"\nper_unit={ credit = 0.0001 }\n')
    server.will(sound(**{"character-cost": "330"}))
    with instrumented(libraries=["elevenlabs"], prices=str(prices)) as telemetry:
        await items(client.text_to_sound_effects.convert(text="rain"))
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.033)


async def test_a_dubbing_counts_the_seconds_that_it_will_have(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(json_reply({"dubbing_id": "d1", "expected_duration_sec": 127.5}))
    await now(client.dubbing.create(source_url="https://example.com/a.mp4", target_lang="es"))
    attributes = capturing.attributes
    assert capturing.span.name == "translation dubbing"
    assert attributes["genledger.usage.second"] == 127.5
    assert attributes["genledger.cost.unpriced"]
    assert attributes["gen_ai.response.id"] == "d1"


async def test_requests_that_generate_nothing_are_no_calls(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(json_reply([]))
    await now(client.models.list())
    server.will(json_reply({"voices": []}))
    await now(client.voices.get_all())
    assert not capturing.spans


async def test_a_transcript_of_each_channel_is_paid(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(json_reply({"transcripts": [transcript(channel_index=0), transcript(channel_index=1)]}))
    await now(client.speech_to_text.convert(model_id=MODEL, file=b"RIFF"))
    attributes = capturing.attributes
    assert attributes["genledger.usage.second"] == 2 * SECONDS
    assert attributes["gen_ai.output.messages"].count("Paris") == 2


async def test_a_budget_degrades_the_model_in_a_form_and_in_json(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "eleven_flash_v2_5" }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    with instrumented(libraries=["elevenlabs"], budgets=str(rules), budget_store="memory:") as telemetry:
        server.will(sound())
        await items(client.text_to_speech.convert(VOICE, text=SPOKEN, model_id="eleven_v3"))
        (request,) = server.requests
        assert request.json == {"text": SPOKEN, "model_id": "eleven_flash_v2_5"}
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(len(SPOKEN) * 40e-6)
        server.will(json_reply(transcript()))
        await now(client.speech_to_text.convert(model_id=MODEL, file=b"RIFF"))
        (request,) = server.requests
        assert b"eleven_flash_v2_5" in request.body
        assert b"RIFF" in request.body


async def test_budgets_reserve_what_is_spoken(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nusd=0.01\nper="day"\n')
    server.will(sound())
    with instrumented(libraries=["elevenlabs"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(BudgetExceeded):  # 1000 characters are 0.08 USD
            await items(client.text_to_speech.convert(VOICE, text="x" * 1000))
        assert server.requests == []
        await items(client.text_to_speech.convert(VOICE, text=SPOKEN))
        assert len(server.requests) == 1
