"""AssemblyAI's client beyond the contract: how a transcript may end, and the LLM gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.assemblyai import ADDRESS, MODEL, SECONDS, Client, completed, transcript
from tests.contract.rows.openai_chat import PROMPT, TEXT, USAGE, chunks, whole
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

assemblyai = pytest.importorskip("assemblyai")

COST = SECONDS * 0.15 / 3600
ANSWER = whole("claude-sonnet-4-5", request_id="q1", id="")
HELLO = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["assemblyai"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.url, False, 0)


def test_a_transcript_belongs_to_who_submits_it_and_ends_with_the_poll(
    server: Server, client: Client, capturing: Telemetry
) -> None:
    server.will(json_reply(transcript("queued")))
    with genledger.attribution(tenant="acme"):
        submitted = client.transcriber.submit(ADDRESS)
    assert capturing.open.spans
    server.will(json_reply(transcript("processing")), completed())
    with genledger.attribution(tenant="somebody else"):
        submitted.wait_for_completion()
    attributes = capturing.attributes
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert attributes["gen_ai.response.id"] == "t1"
    assert attributes["gen_ai.response.model"] in ("universal-2", MODEL)  # old versions drop the one that was used
    assert attributes["gen_ai.request.model"] == MODEL
    assert not capturing.open.spans


def test_a_transcript_that_fails_is_an_error_and_costs_nothing(
    server: Server, client: Client, capturing: Telemetry
) -> None:
    server.will(json_reply(transcript("queued")), json_reply(transcript("error", error="no speech", audio_duration=60)))
    client.transcriber.transcribe(ADDRESS)
    attributes = capturing.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["error.type"] == "failed"
    assert "genledger.cost.amount" not in attributes


def test_what_is_asked_for_beside_a_transcript_is_counted(server: Server, client: Client, capturing: Telemetry) -> None:
    server.will(json_reply(transcript("queued")), completed())
    config = assemblyai.TranscriptionConfig(speech_model=MODEL, speaker_labels=True, entity_detection=True)
    client.transcriber.transcribe(ADDRESS, config=config)
    attributes = capturing.attributes
    assert attributes["genledger.usage.second"] == SECONDS
    assert attributes["genledger.usage.speaker_labels_second"] == SECONDS
    assert attributes["genledger.usage.entity_detection_second"] == SECONDS
    assert "unpriced_unit:speaker_labels_second" in attributes["genledger.cost.notes"]


def test_the_model_that_was_used_decides_the_price(server: Server, client: Client, capturing: Telemetry) -> None:
    server.will(json_reply(transcript("queued")), completed(speech_model_used="universal-3-pro"))
    client.transcriber.transcribe(ADDRESS)
    if "speech_model_used" not in assemblyai.types.TranscriptResponse.__fields__:
        pytest.skip("older than the field")
    assert capturing.attributes["genledger.cost.amount"] == pytest.approx(SECONDS * 0.21 / 3600)


def test_a_budget_degrades_the_model(server: Server, client: Client, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\ndegrade={model="universal-2"}\n'
    )
    server.will(json_reply(transcript("queued")), completed())
    with instrumented(libraries=["assemblyai"], budgets=str(rules), budget_store="memory:") as telemetry:
        client.transcriber.transcribe(ADDRESS)
        sent = server.requests[0].json
        assert sent.get("speech_models", [sent.get("speech_model")]) == ["universal-2"]
        assert sent["audio_url"] == ADDRESS
        assert telemetry.attributes["gen_ai.request.model"] == "universal-2"


def test_other_requests_are_no_calls(server: Server, client: Client, capturing: Telemetry) -> None:
    server.will(json_reply({"upload_url": "https://example.com/x"}))
    client.transcriber.upload_file(b"RIFF")
    assert not capturing.spans


@pytest.fixture
def completions(server: Server, asynchronous: bool) -> Any:
    gateway = pytest.importorskip("assemblyai.llm_gateway.v1")
    kind = gateway.AsyncLLMGateway if asynchronous else gateway.LLMGateway
    return kind(client=Client(server.url, asynchronous, 0).client).chat.completions


async def test_a_chat_through_the_gateway_is_read(server: Server, completions: Any, capturing: Telemetry) -> None:
    server.will(ANSWER)
    await now(completions.create(model="claude-sonnet-4-5", messages=HELLO, max_tokens=700))
    attributes = capturing.attributes
    assert capturing.span.name == "chat claude-sonnet-4-5"
    assert attributes["gen_ai.provider.name"] == "assemblyai"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.unpriced"]
    assert attributes["gen_ai.response.id"] == "q1"
    assert attributes["server.address"] == "127.0.0.1"
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert TEXT in attributes["gen_ai.output.messages"]


async def test_a_streamed_chat_through_the_gateway_is_read(
    server: Server, completions: Any, capturing: Telemetry
) -> None:
    server.will(Reply(200, "text/event-stream", chunks("claude-sonnet-4-5", usage=USAGE)))
    await items(await now(completions.create(model="claude-sonnet-4-5", messages=HELLO, stream=True)))
    attributes = capturing.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["gen_ai.request.stream"] is True
    assert TEXT in json.dumps(json.loads(attributes["gen_ai.output.messages"]))


async def test_the_users_price_prices_the_gateway(server: Server, completions: Any, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[[price]]\nprovider="assemblyai"\nmodel="claude-*"\nper_million={ input = 3, output = 15 }\n')
    server.will(ANSWER)
    with instrumented(libraries=["assemblyai"], prices=str(prices)) as telemetry:
        await now(completions.create(model="claude-sonnet-4-5", messages=HELLO))
        assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 3e-6 + 500 * 15e-6)
