"""Together's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.together import make
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("together")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["together"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


async def test_embeddings_are_one_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    model = "intfloat/multilingual-e5-large-instruct"
    vectors = [{"object": "embedding", "embedding": [0.1], "index": 0}]
    server.will(json_reply({"object": "list", "data": vectors, "model": model}))
    await now(client.embeddings.create(model=model, input="hello"))
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.provider.name"] == "together"


async def test_a_rerank_counts_tokens(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.together.ai/reference/rerank-1"""
    model = "Salesforce/Llama-Rank-v1"
    results = [{"index": 0, "relevance_score": 0.9, "document": {"text": "Paris"}}]
    usage = {"prompt_tokens": 150, "completion_tokens": 0, "total_tokens": 150}
    server.will(json_reply({"object": "rerank", "id": "r1", "model": model, "results": results, "usage": usage}))
    await now(client.rerank.create(model=model, query="capital", documents=["Paris"], top_n=1))
    assert telemetry.span.name == f"rerank {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 150


async def test_what_is_not_inference_is_no_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"data": []}))
    await now(client.files.list())
    assert not telemetry.spans


@pytest.mark.parametrize(
    ("asked", "megapixels"),
    [
        ({}, 1.048576),
        ({"width": 2000, "height": 1000, "n": 2, "steps": 4}, 4.0),
        ({"width": 1000, "height": 1000, "steps": 8}, 2.0),
        ({"width": 1000, "height": 1000, "steps": 1}, 1.0),
    ],
)
async def test_an_image_is_billed_by_its_megapixels_and_by_steps_above_the_usual(
    server: Server, client: Any, telemetry: Telemetry, asked: Any, megapixels: float
) -> None:
    """https://www.together.ai/pricing"""
    model = "black-forest-labs/FLUX.1-schnell"
    data = [{"index": at, "url": "https://example.com/1.png", "type": "url"} for at in range(asked.get("n", 1))]
    server.will(json_reply({"id": "i1", "model": model, "object": "list", "data": data}))
    await now(client.images.generate(model=model, prompt="Paris", **asked))
    assert telemetry.span.name == f"image_generation {model}"
    assert telemetry.attributes["genledger.usage.megapixel"] == pytest.approx(megapixels)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(megapixels * 0.0027)


async def test_a_budget_refuses_an_image(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.05\nper="day"\n')
    with instrumented(libraries=["together"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(genledger.BudgetExceeded):
            await now(client.images.generate(model="black-forest-labs/FLUX.1-kontext-max", prompt="Paris"))
        assert not server.requests


def _video(status: str, **fields: Any) -> Reply:
    size = {"seconds": "5", "size": "1366x768"}
    return json_reply(
        {"id": "v1", "model": "kling", "object": "video", "created_at": 1, "status": status, **size, **fields}
    )


async def test_a_video_is_one_call_from_its_creation_to_its_end(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    """https://docs.together.ai/reference/get-videos-id"""
    done = _video("completed", outputs={"cost": 0, "video_url": "https://example.com/v.mp4"})
    server.will(_video("in_progress"), _video("in_progress"), done)
    await now(client.videos.create(model="kling", prompt="Paris"))
    await now(client.videos.retrieve("v1"))
    assert (await now(client.videos.retrieve("v1"))).outputs.video_url == "https://example.com/v.mp4"
    video = telemetry.attributes_of("generate_content kling")
    assert video["gen_ai.response.id"] == "v1"
    assert video["genledger.usage.video"] == 1
    assert video["genledger.cost.unpriced"] == "unknown_model"
    assert [span.name for span in telemetry.spans].count("fetch_response") == 2


async def test_a_video_that_fails_is_a_failed_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(_video("in_progress"), _video("failed", error={"message": "No.", "code": "moderated"}))
    await now(client.videos.create(model="kling", prompt="Paris"))
    await now(client.videos.retrieve("v1"))
    video = telemetry.attributes_of("generate_content kling")
    assert video["error.type"] == "moderated"
    assert video["genledger.outcome"] == "error"
    assert "genledger.cost.unpriced" not in video
    assert telemetry.attributes_of("fetch_response")["genledger.outcome"] == "success"


async def test_code_is_billed_by_the_session(server: Server, client: Any, telemetry: Telemetry) -> None:
    if not hasattr(client, "code_interpreter"):
        pytest.skip("3.0 has no code interpreter")
    server.will(json_reply({"data": {"session_id": "s1", "outputs": [], "status": "success"}, "errors": None}))
    await now(client.code_interpreter.execute(code="1 + 1", language="python"))
    assert telemetry.span.name == "code_execution code-interpreter"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.03)


async def test_speech_and_transcriptions_are_calls(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "audio/mpeg", (b"audio",)), json_reply({"text": "hello", "duration": 30.0}))
    speech = await now(client.audio.speech.create(model="cartesia/sonic", input="Hello there.", voice="laidback woman"))
    await now(speech.read())
    assert telemetry.attributes_of("speech cartesia/sonic")["genledger.usage.character"] == 12
    model = "openai/whisper-large-v3"
    await now(client.audio.transcriptions.create(model=model, file=b"audio", response_format="verbose_json"))
    assert telemetry.attributes_of(f"transcription {model}")["genledger.usage.second"] == 30
