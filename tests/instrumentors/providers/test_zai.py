"""The client of Z.ai, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.openai_chat import PROMPT, whole
from tests.contract.rows.zai import MODEL, make
from tests.contract.server import Reply, Server, json_reply

from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

pytest.importorskip("zai")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["zai-sdk"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans


@pytest.fixture
def client(server: Server) -> Any:
    return make(server.url, False, 0)


def test_the_client_for_china_asks_another_provider(server: Server, telemetry: Telemetry) -> None:
    import zai

    server.will(whole(MODEL))
    client = zai.ZhipuAiClient(base_url=server.url, api_key="k")
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": PROMPT}])
    assert telemetry.attributes["gen_ai.provider.name"] == "zhipuai"


def test_a_web_search_within_a_chat_is_billed(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.z.ai/guides/tools/web-search"""
    server.will(whole(MODEL, web_search=[{"title": "Paris", "link": "https://example.com"}]))
    client.chat.completions.create(model=MODEL, messages=[], tools=[{"type": "web_search", "web_search": {}}])
    assert telemetry.attributes["genledger.usage.web_search"] == 1
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.01 + 1000 * 0.6e-6 + 500 * 2.2e-6)


def test_a_search_is_a_retrieval_billed_by_the_request(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.z.ai/api-reference/tools/web-search"""
    server.will(json_reply({"id": "s1", "created": 1, "search_result": [{"title": "Paris"}], "search_intent": None}))
    client.web_search.web_search(search_engine="search-prime", search_query="capital", count=3)
    assert telemetry.span.name == "retrieval"
    assert telemetry.attributes["gen_ai.retrieval.top_k"] == 3
    assert telemetry.attributes["genledger.retrieval.results"] == 1
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.01)


def test_embeddings_and_images_are_calls(server: Server, client: Any, telemetry: Telemetry) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}
    server.will(json_reply({"model": "embedding-3", "object": "list", "data": [], "usage": usage}))
    client.embeddings.create(model="embedding-3", input="hello")
    assert telemetry.span.name == "embeddings embedding-3"
    telemetry.clear()
    server.will(json_reply({"created": 1, "data": [{"url": "https://example.com/1.png"}]}))
    client.images.generations(model="cogview-4", prompt="Paris")
    assert telemetry.attributes["genledger.usage.image"] == 1


JOB = {"id": "j1", "request_id": "r1", "task_status": "PROCESSING"}
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}


def test_a_chat_in_the_background_is_paid_for_when_it_is_fetched(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    """https://docs.z.ai/api-reference/async-result"""
    message = {"role": "assistant", "content": "Paris."}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    job = {**JOB, "model": MODEL}
    done = {**job, "task_status": "SUCCESS", "choices": choices, "usage": USAGE}
    server.will(json_reply(job), json_reply(job), json_reply(done))
    jobs = client.chat.asyncCompletions
    jobs.create(model=MODEL, messages=[{"role": "user", "content": PROMPT}])
    jobs.retrieve_completion_result("j1")
    assert jobs.retrieve_completion_result("j1").choices[0].message.content == "Paris."
    chat = telemetry.attributes_of(f"chat {MODEL}")
    assert chat["gen_ai.usage.output_tokens"] == 500
    assert chat["gen_ai.response.finish_reasons"] == ("stop",)
    assert chat["genledger.cost.amount"] == pytest.approx(1000 * 0.6e-6 + 500 * 2.2e-6)
    assert len(telemetry.spans) == 3


@pytest.mark.parametrize("named", [True, False])
def test_a_video_is_one_call_from_its_creation_to_its_end(
    server: Server, client: Any, telemetry: Telemetry, named: bool
) -> None:
    """https://docs.z.ai/api-reference/video/get-video-status"""
    video = {"url": "https://example.com/v.mp4", "cover_image_url": "https://example.com/v.png"}
    done = {"model": "viduq1-text", "request_id": "r1", "task_status": "SUCCESS", "video_result": [video]}
    server.will(json_reply({**JOB, "model": "viduq1-text"}), json_reply({**done, **({"id": "j1"} if named else {})}))
    client.videos.generations(model="viduq1-text", prompt="Paris")
    assert client.videos.retrieve_videos_result("j1").video_result[0].url
    attributes = telemetry.attributes_of("generate_content viduq1-text")
    assert attributes["genledger.usage.video"] == 1
    assert attributes["genledger.outcome"] == "success"
    assert telemetry.attributes_of("fetch_response")["gen_ai.response.id"] == "j1"


def test_a_job_that_fails_is_a_failed_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    job = {**JOB, "model": "viduq1-text", "video_result": []}
    server.will(json_reply(job), json_reply({**job, "task_status": "FAIL"}))
    client.videos.generations(model="viduq1-text", prompt="Paris")
    client.videos.retrieve_videos_result("j1")
    attributes = telemetry.attributes_of("generate_content viduq1-text")
    assert attributes["error.type"] == "failed"
    assert "genledger.cost.unpriced" not in attributes


def test_images_in_the_background_are_billed_each(server: Server, client: Any, telemetry: Telemetry) -> None:
    if not hasattr(client.images, "async_generations"):
        pytest.skip("0.0 makes no images in the background")
    job = {**JOB, "model": "glm-image"}
    done = {**job, "task_status": "SUCCESS", "image_result": [{"url": "https://example.com/1.png"}]}
    server.will(json_reply(job), json_reply(done))
    client.images.async_generations(model="glm-image", prompt="Paris", size="1728x960")
    client.images.retrieve_images_result("j1")
    assert telemetry.attributes_of("image_generation glm-image")["genledger.usage.image"] == 1


def test_every_billed_endpoint_is_a_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    ocr = {"id": "o1", "created": 1, "model": "glm-ocr", "md_results": "# Paris", "usage": USAGE}
    parsed = {"task_id": "t1", "message": "ok", "success": True, "status": "success"}
    calls: list[tuple[str, str, Any]] = [
        (
            "layout_parsing",
            "ocr glm-ocr",
            lambda: client.layout_parsing.create(model="glm-ocr", file="https://a/b.pdf"),
        ),
        ("file_parser", "ocr", lambda: client.file_parser.create(file=b"x", file_type="PDF", tool_type="lite")),
        ("ocr", "ocr", lambda: client.ocr.handwriting_ocr(file=b"x", tool_type="hand_write")),
        ("web_reader", "retrieval", lambda: client.web_reader.web_reader(url="https://example.com")),
        (
            "voice",
            "speech glm-tts-clone",
            lambda: client.voice.clone(voice_name="a", text="Hi.", input="Hello.", file_id="f1", model="glm-tts-clone"),
        ),
    ]
    for resource, name, call in calls:
        if hasattr(client, resource):
            telemetry.clear()
            server.will(json_reply(ocr if resource == "layout_parsing" else parsed))
            call()
            assert telemetry.span.name == name
            assert telemetry.attributes["genledger.outcome"] == "success"
            unpriced = telemetry.attributes.get("genledger.cost.unpriced")
            assert unpriced == (None if resource == "layout_parsing" else "no_usage")


def test_speech_is_billed_by_its_characters(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "audio/wav", (b"audio",)))
    client.audio.speech(model="glm-tts", input="Hello there.", voice="tongtong")
    assert telemetry.attributes["genledger.usage.character"] == 12
