"""OpenRouter's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import pytest
from tests.contract.rows.openai_chat import PROMPT, USAGE, chunks, whole
from tests.contract.rows.openrouter import COST, MODEL, make
from tests.contract.server import Reply, Server, json_reply, sse

from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("openrouter")

HELLO = [{"role": "user", "content": PROMPT}]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1790000000,
    "completed_at": 1790000001,
    "model": MODEL,
    "status": "completed",
    "output": [],
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": None,
    "frequency_penalty": None,
    "presence_penalty": None,
    "temperature": None,
    "top_p": None,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 1000,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 500,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1500,
        "cost": COST,
    },
}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["openrouter"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def ask(server: Server, asynchronous: bool) -> Any:
    """Call a method of a resource, in the client's way."""
    sdk = make(server.url)

    async def call(resource: str, method: str, **given: Any) -> Any:
        name = f"{resource}.{method}{'_async' if asynchronous else ''}"
        return await now(attrgetter(name)(sdk)(**given))

    return call


async def test_a_response_costs_what_it_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    server.will(json_reply(RESPONSE))
    await ask("beta.responses", "send", model=MODEL, input=PROMPT)
    assert telemetry.span.name == f"chat {MODEL}"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_streamed_response_costs_what_its_last_event_reports(
    server: Server, ask: Any, telemetry: Telemetry
) -> None:
    end = {"type": "response.completed", "sequence_number": 1, "response": RESPONSE}
    server.will(Reply(200, "text/event-stream", sse(end, done=True)))
    await items(await ask("beta.responses", "send", model=MODEL, input=PROMPT, stream=True))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_embeddings_cost_what_they_report(server: Server, ask: Any, telemetry: Telemetry) -> None:
    vectors = [{"object": "embedding", "embedding": [0.1], "index": 0}]
    usage = {"prompt_tokens": 8, "total_tokens": 8, "cost": 2e-7}
    model = "openai/text-embedding-3-small"
    server.will(json_reply({"object": "list", "data": vectors, "model": model, "usage": usage}))
    await ask("embeddings", "generate", model=model, input="hello", dimensions=1)
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 8
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(2e-7)


async def test_a_rerank_costs_what_it_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    results = [{"index": 0, "relevance_score": 0.9, "document": {"text": "Paris"}}]
    server.will(
        json_reply({"id": "gen-1", "model": "cohere/rerank-v3.5", "results": results,
                    "usage": {"search_units": 1, "total_tokens": 150, "cost": 0.001}})
    )  # fmt: skip
    await ask("rerank", "rerank", model="cohere/rerank-v3.5", query="capital", documents=["Paris"])
    assert telemetry.span.name == "rerank cohere/rerank-v3.5"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.001)


async def test_an_image_costs_what_it_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 4175, "total_tokens": 4185, "cost": 0.04}
    server.will(json_reply({"created": 1790000000, "data": [{"b64_json": "aGk="}], "usage": usage}))
    await ask("images", "generate", model="openai/gpt-image-1", prompt="a lake")
    assert telemetry.span.name == "image_generation openai/gpt-image-1"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.04)


async def test_a_transcription_costs_what_it_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"text": "hello", "usage": {"seconds": 9.2, "cost": 0.0005}}))
    audio = {"data": "aGk=", "format": "wav"}
    await ask("stt", "create_transcription", model="openai/whisper-1", input_audio=audio)
    assert telemetry.span.name == "transcription openai/whisper-1"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.0005)


async def test_with_the_customers_own_key_the_upstream_charge_is_added(
    server: Server, ask: Any, telemetry: Telemetry
) -> None:
    """https://openrouter.ai/docs/use-cases/byok"""
    details = {
        "upstream_inference_cost": 0.0075,
        "upstream_inference_prompt_cost": 0.0025,
        "upstream_inference_completions_cost": 0.005,
    }
    usage = {**USAGE, "cost": 0.0004, "is_byok": True, "cost_details": details}
    server.will(whole(MODEL, usage=usage, system_fingerprint=None))
    await ask("chat", "send", model=MODEL, messages=HELLO)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.0079)


async def test_an_error_inside_a_stream_is_an_error(server: Server, ask: Any, telemetry: Telemetry) -> None:
    """https://openrouter.ai/docs/api-reference/errors: the status is 200 by then."""
    failed = {
        "id": "gen-1",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": MODEL,
        "error": {"code": 502, "message": "Provider disconnected"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    }
    server.will(Reply(200, "text/event-stream", (*chunks(MODEL)[:3], *sse(failed))))
    await items(await ask("chat", "send", model=MODEL, messages=HELLO, stream=True))
    assert telemetry.attributes["genledger.outcome"] == "error"


async def test_what_is_not_inference_is_no_call(server: Server, ask: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"data": {"total_credits": 10.0, "total_usage": 1.0}}))
    await ask("credits", "get_credits")
    assert not telemetry.spans


def video(status: str, **fields: Any) -> Reply:
    return json_reply({"id": "gen-vid-1", "polling_url": "https://example.com", "status": status, **fields}, 202)


async def test_a_video_costs_what_its_end_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    """https://openrouter.ai/docs/api/api-reference/video-generation/get-videos"""
    done = {"unsigned_urls": ["https://example.com/v.mp4"], "usage": {"cost": 0.4, "is_byok": False}}
    server.will(video("pending"), json_reply(json.loads(video("completed", **done).body[0])))
    await ask("video_generation", "generate", model="google/veo-3.1", prompt="Paris")
    await ask("video_generation", "get_generation", job_id="gen-vid-1")
    attributes = telemetry.attributes_of("generate_content google/veo-3.1")
    assert attributes["gen_ai.response.id"] == "gen-vid-1"
    assert attributes["genledger.cost.amount"] == pytest.approx(0.4)
    assert telemetry.attributes_of("fetch_response")["gen_ai.response.id"] == "gen-vid-1"


async def test_a_batch_costs_what_its_end_reports(server: Server, ask: Any, telemetry: Telemetry) -> None:
    batch: dict[str, Any] = {
        "id": "b1",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": MODEL,
        "error": None,
        "completion_window": "24h",
        "created_at": 1790000000,
        "expires_at": None,
        "finalized_at": None,
        "provider": None,
        "results": None,
        "usage": None,
        "status": "in_progress",
        "request_counts": {"total": 1, "completed": 0, "failed": 0},
    }
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500, "cost": COST}
    server.will(json_reply(batch, 202), json_reply({**batch, "status": "completed", "usage": usage}))
    try:
        request = {"custom_id": "a", "body": {"messages": HELLO}}
        await ask("batch", "create_batches", model=MODEL, endpoint="/v1/chat/completions", requests=[request])
    except AttributeError:
        pytest.skip("the version has no batches")
    await ask("batch", "get_batches", id="b1")
    attributes = telemetry.attributes_of(f"batch {MODEL}")
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_speech_is_billed_by_its_characters(
    server: Server, ask: Any, asynchronous: bool, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "audio/mpeg", (b"audio",)))
    speech = await ask("tts", "create_speech", model="openai/tts-1", input="Hello there.", voice="alloy")
    await now(speech.aread() if asynchronous else speech.read())
    assert telemetry.span.name == "speech openai/tts-1"
    assert telemetry.attributes["genledger.usage.character"] == 12
