"""Deepgram's client, over real sockets: what its transcription row of the contract suite does not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import AsyncGeneratorType, GeneratorType
from typing import Any

import pytest
from tests.contract.rows.deepgram import ADDRESS, SECONDS, answer, make
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

deepgram = pytest.importorskip("deepgram")

SPOKEN = "Hello, Paris."
SOUND = Reply(
    200,
    "audio/mpeg",
    (b"one", b"two", b"three"),
    {"dg-request-id": "r2", "dg-model-name": "aura-2-thalia-en", "dg-char-count": "13"},
)


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["deepgram"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0).sdk


def spoken(client: Any, **more: Any) -> Any:
    return client.speak.v1.audio.generate(text=SPOKEN, **{"model": "aura-2-thalia-en", **more})


async def test_speech_stays_an_iterator_of_bytes_and_is_priced_by_characters(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(SOUND)
    stream = spoken(client)
    assert type(stream) in (GeneratorType, AsyncGeneratorType)
    assert server.requests == []
    assert b"".join(await items(stream)) == b"onetwothree"
    attributes = capturing.attributes
    assert capturing.span.name == "speech aura-2-thalia-en"
    assert attributes["genledger.usage.character"] == 13
    assert attributes["genledger.cost.amount"] == pytest.approx(13 * 30e-6)
    assert attributes["gen_ai.response.id"] == "r2"
    assert attributes["gen_ai.response.model"] == "aura-2-thalia-en"
    assert SPOKEN in attributes["gen_ai.input.messages"]


async def test_speech_without_a_header_is_priced_by_the_text(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(Reply(200, "audio/mpeg", (b"one",)))
    await items(spoken(client, model=None))
    attributes = capturing.attributes
    assert attributes["gen_ai.request.model"] == "aura-asteria-en"
    assert attributes["genledger.cost.amount"] == pytest.approx(13 * 15e-6)


async def test_speech_that_is_not_read_to_its_end_is_cancelled_and_paid(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(Reply(200, "audio/mpeg", (b"one",), hangs=True))
    stream = spoken(client, request_options={"chunk_size": 1})
    await items(stream, 1)
    await now(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    attributes = capturing.attributes
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.cost.amount"] == pytest.approx(13 * 30e-6)


async def test_speech_belongs_to_who_asked_for_it(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(SOUND)
    with genledger.attribution(tenant="asked"):
        stream = spoken(client)
    with genledger.attribution(tenant="reads"):
        await items(stream)
    assert capturing.attributes["genledger.tenant.id"] == "asked"


async def test_speech_that_is_refused_costs_nothing(server: Server, client: Any, capturing: Telemetry) -> None:
    server.will(json_reply({"err_msg": "no"}, 400))
    with pytest.raises(Exception, match="no"):
        await items(spoken(client))
    assert capturing.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in capturing.attributes


async def test_every_channel_that_is_transcribed_is_paid(server: Server, client: Any, capturing: Telemetry) -> None:
    body = answer(channels=2)
    body["results"]["channels"] *= 2
    server.will(json_reply(body))
    given = {"model": "nova-3", "language": "multi", "multichannel": True, "diarize": True}
    await now(client.listen.v1.media.transcribe_file(request=b"RIFF", **given))
    (request,) = server.requests
    assert request.body == b"RIFF"
    attributes = capturing.attributes
    assert attributes["genledger.usage.multilingual_second"] == 2 * SECONDS
    assert attributes["genledger.usage.diarize_second"] == 2 * SECONDS
    assert attributes["genledger.cost.amount"] == pytest.approx(2 * SECONDS * 0.0052 / 60)
    assert "unpriced_unit:diarize_second" in attributes["genledger.cost.notes"]
    assert attributes["gen_ai.response.id"] == "r1"


async def test_the_tokens_of_what_analyzed_a_transcript_are_paid(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    info = {"model_uuid": "m", "input_tokens": 1000, "output_tokens": 200}
    server.will(json_reply(answer(summary_info=info, topics_info=info)))
    await now(client.listen.v1.media.transcribe_url(url=ADDRESS, model="nova-3", summarize="v2", topics=True))
    attributes = capturing.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 2000
    expected = SECONDS * 0.0043 / 60 + 2000 * 0.3e-6 + 400 * 0.6e-6
    assert attributes["genledger.cost.amount"] == pytest.approx(expected)


async def test_an_analysis_of_text_is_priced_by_its_tokens(server: Server, client: Any, capturing: Telemetry) -> None:
    info = {"model_uuid": "m", "input_tokens": 1000, "output_tokens": 200}
    metadata = {"request_id": "r3", "created": "2026-11-29T00:00:00Z", "language": "en", "summary_info": info}
    server.will(json_reply({"metadata": metadata, "results": {"summary": {"text": "A greeting."}}}))
    await now(client.read.v1.text.analyze(request={"text": SPOKEN}, language="en", summarize=True))
    attributes = capturing.attributes
    assert capturing.span.name == "generate_content text-intelligence"
    assert attributes["gen_ai.usage.output_tokens"] == 200
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6 + 200 * 0.6e-6)
    assert attributes["gen_ai.response.id"] == "r3"
    assert SPOKEN in attributes["gen_ai.input.messages"]
    assert "A greeting." in attributes["gen_ai.output.messages"]


async def test_an_answer_that_goes_to_a_callback_is_visibly_unpriced(
    server: Server, client: Any, capturing: Telemetry
) -> None:
    server.will(json_reply({"request_id": "r1"}))
    await now(client.listen.v1.media.transcribe_url(url=ADDRESS, model="nova-3", callback="https://example.com"))
    assert capturing.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_a_budget_degrades_the_model_in_the_address(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "nova-2" }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(json_reply(answer()))
    with instrumented(libraries=["deepgram"], budgets=str(rules), budget_store="memory:") as telemetry:
        await now(client.listen.v1.media.transcribe_url(url=ADDRESS, model="nova-3", smart_format=True))
        (request,) = server.requests
        assert "model=nova-2&" in f"{request.path}&"
        assert json.loads(request.body) == {"url": ADDRESS}
        assert telemetry.attributes["gen_ai.request.model"] == "nova-2"


async def test_budgets_reserve_as_much_audio_as_is_sent(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nusd=0.01\nper="day"\n')
    server.will(json_reply(answer()))
    with instrumented(libraries=["deepgram"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(BudgetExceeded):  # an hour at 16 kbit/s is 0.258 USD
            await now(client.listen.v1.media.transcribe_file(request=bytes(7_200_000), model="nova-3"))
        assert server.requests == []
        await now(client.listen.v1.media.transcribe_file(request=bytes(2000), model="nova-3"))
        assert len(server.requests) == 1
