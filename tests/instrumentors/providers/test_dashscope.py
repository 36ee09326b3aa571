"""Alibaba's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.dashscope import MODEL, ROW, USAGE, ask, make, part
from tests.contract.rows.openai_chat import PROMPT, TEXT
from tests.contract.server import Reply, Server, json_reply

from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

dashscope: Any = pytest.importorskip("dashscope")
web: Any = pytest.importorskip("aiohttp.web")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["dashscope"], capture_content="both", **ROW.options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans


def streamed(*parts: dict[str, Any]) -> Reply:
    events = (f"id:{at}\nevent:result\n:HTTP_STATUS/200\ndata:{json.dumps(one)}\n\n" for at, one in enumerate(parts, 1))
    return Reply(200, "text/event-stream", tuple(event.encode() for event in events))


@pytest.mark.parametrize("incremental", [False, True])
async def test_a_stream_has_its_text_once_however_it_comes(
    server: Server, asynchronous: bool, telemetry: Telemetry, incremental: bool
) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/stream"""
    words = TEXT.split(" ")
    said = [f"{word} " if word != words[-1] else word for word in words]
    if not incremental:
        said = ["".join(said[: count + 1]) for count in range(len(said))]
    parts = [part(one, "null", {"input_tokens": 1000, "output_tokens": at}) for at, one in enumerate(said, 1)]
    server.will(streamed(*parts, part("" if incremental else TEXT, "stop", USAGE)))
    client = make(server.url, asynchronous, 0)
    given = {"incremental_output": incremental, "result_format": "message", "api_key": "k"}
    # Of most models, the client itself asks for what is new, and puts it together.
    model = {"model": MODEL if incremental else "qwen-omni-turbo", "messages": [{"role": "user", "content": PROMPT}]}
    await items(await now(client.call(**model, **given, stream=True, base_address=client.address)))
    (request,) = server.requests
    messages = telemetry.attributes["gen_ai.output.messages"]
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert request.json["parameters"]["incremental_output"] is incremental
    assert json.loads(messages)[0]["parts"][0]["content"] == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_is_an_answer(server: Server, asynchronous: bool, telemetry: Telemetry, stream: bool) -> None:
    server.will(ROW.error(429))
    answer = await now(ask(make(server.url, asynchronous, 0), stream=stream))
    if stream:
        (answer,) = await items(answer)
    assert answer.status_code == 429
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert "genledger.cost.amount" not in telemetry.attributes


def test_embeddings_and_reranks_count_tokens(server: Server, telemetry: Telemetry) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/text-embedding-synchronous-api"""
    place = {"api_key": "k", "base_address": f"{server.url}/api/v1"}
    vectors = [{"text_index": 0, "embedding": [0.1]}]
    server.will(json_reply({"output": {"embeddings": vectors}, "usage": {"total_tokens": 7}, "request_id": "r"}))
    dashscope.TextEmbedding.call(model="text-embedding-v4", input="hello", dimension=256, **place)
    assert telemetry.span.name == "embeddings text-embedding-v4"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 7
    assert telemetry.attributes["gen_ai.embeddings.dimension.count"] == 256
    telemetry.clear()
    results = [{"index": 0, "relevance_score": 0.9}]
    server.will(json_reply({"output": {"results": results}, "usage": {"total_tokens": 9}, "request_id": "r"}))
    dashscope.TextReRank.call(model="gte-rerank-v2", query="capital", documents=["Paris"], top_n=1, **place)
    assert telemetry.span.name == "rerank gte-rerank-v2"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 9


def test_what_is_not_inference_is_no_call(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"output": {}, "request_id": "r"}))
    dashscope.Models.list(api_key="k", base_address=f"{server.url}/api/v1")
    assert not telemetry.spans


def task(status: str, usage: Any = None, **output: Any) -> Reply:
    said = {"task_id": "t1", "task_status": status, **output}
    return json_reply({"output": said, "request_id": "r", **({"usage": usage} if usage is not None else {})})


JOBS: list[tuple[str, str, dict[str, Any], str, float]] = [
    ("ImageSynthesis", "wan2.2-t2i-flash", {"image_count": 2}, "image", 2),
    ("VideoSynthesis", "wan2.5-t2v", {"duration": 5, "SR": 720, "video_count": 1}, "720p_second", 5),
    ("VideoSynthesis", "wan2.1-t2v", {"video_duration": 5, "video_count": 1}, "second", 5),
]


@pytest.mark.parametrize("job", JOBS)
async def test_a_task_is_one_call_from_its_creation_to_its_end(
    server: Server, asynchronous: bool, telemetry: Telemetry, job: tuple[str, str, dict[str, Any], str, float]
) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/text-to-image-api-reference"""
    kind, model, usage, unit, count = job
    module = getattr(dashscope, f"Aio{kind}" if asynchronous else kind, None)
    if module is None:
        pytest.skip("the version has no asynchronous tasks")
    place = {"api_key": "k", "base_address": f"{server.url}/api/v1"}
    server.will(
        task("PENDING"), task("RUNNING"), task("SUCCEEDED", usage, results=[{"url": "https://example.com/1.png"}])
    )
    made = await now(module.async_call(model=model, prompt="Paris", **place))
    await now(module._get("t1", **place))
    await now(module._get(made.output.task_id, **place))
    (created,) = (span for span in telemetry.spans if span.name.endswith(model))
    attributes = dict(created.attributes or {})
    assert attributes["gen_ai.response.id"] == "t1"
    assert attributes[f"genledger.usage.{unit}"] == count
    assert attributes["genledger.cost.unpriced"] in ("unknown_model", "unknown_provider")
    assert [span.name for span in telemetry.spans].count("fetch_response") == 2


def test_waiting_for_a_task_that_fails_ends_its_call(server: Server, telemetry: Telemetry) -> None:
    server.will(task("PENDING"), task("FAILED", code="DataInspectionFailed", message="No."))
    place = {"api_key": "k", "base_address": f"{server.url}/api/v1"}
    transcription = dashscope.audio.asr.Transcription
    made = transcription.async_call(model="paraformer-v2", file_urls=["https://example.com/a.mp3"], **place)
    transcription.wait(made, **place)
    attributes = telemetry.attributes_of("transcription paraformer-v2")
    assert attributes["error.type"] == "DataInspectionFailed"
    assert attributes["genledger.outcome"] == "error"
    assert "genledger.cost.unpriced" not in attributes


def test_a_transcription_is_billed_by_the_second(server: Server, telemetry: Telemetry) -> None:
    server.will(task("PENDING"), task("SUCCEEDED", {"duration": 12}, results=[]))
    place = {"api_key": "k", "base_address": f"{server.url}/api/v1"}
    transcription = dashscope.audio.asr.Transcription
    transcription.wait(transcription.async_call(model="paraformer-v2", file_urls=["https://a/a.mp3"], **place), **place)
    assert telemetry.attributes_of("transcription paraformer-v2")["genledger.usage.second"] == 12


USAGES = [
    ("qwen-image", {"image_count": 1, "width": 1328, "height": 1328}, {"genledger.usage.image": 1}),
    ("qwen3-tts-flash", {"characters": 12}, {"genledger.usage.character": 12}),
    (
        "qwen-vl-max",
        {
            "input_tokens": 1271,
            "image_tokens": 1247,
            "input_tokens_details": {"image_tokens": 1247},
            "output_tokens": 5,
        },
        {"gen_ai.usage.input_tokens": 1271, "gen_ai.usage.image.input_tokens": 1247},
    ),
]


@pytest.mark.parametrize(("model", "usage", "expected"), USAGES)
def test_a_multimodal_call_is_billed_by_what_it_counts(
    server: Server, telemetry: Telemetry, model: str, usage: Any, expected: dict[str, Any]
) -> None:
    message = {"role": "assistant", "content": [{"image": "https://example.com/1.png"}]}
    output = {"choices": [{"finish_reason": "stop", "message": message}]}
    server.will(json_reply({"output": output, "usage": usage, "request_id": "r"}))
    messages = [{"role": "user", "content": [{"text": "Paris"}]}]
    dashscope.MultiModalConversation.call(
        model=model, messages=messages, api_key="k", base_address=f"{server.url}/api/v1"
    )
    assert telemetry.span.name == f"chat {model}"
    assert telemetry.attributes.items() >= expected.items()


def test_multimodal_embeddings_count_images_beside_the_text(server: Server, telemetry: Telemetry) -> None:
    usage = {"input_tokens": 10, "image_tokens": 896, "image_count": 1}
    server.will(json_reply({"output": {"embeddings": []}, "usage": usage, "request_id": "r"}))
    dashscope.MultiModalEmbedding.call(
        model="tongyi-embedding-vision-plus", input=[{"text": "a"}], api_key="k", base_address=f"{server.url}/api/v1"
    )
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 906
    assert telemetry.attributes["gen_ai.usage.image.input_tokens"] == 896


@pytest.mark.parametrize("stream", [False, True])
def test_an_application_consumes_what_its_models_do(server: Server, telemetry: Telemetry, stream: bool) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/call-application-through-api"""
    usage = {"models": [{"model_id": MODEL, "input_tokens": 1000, "output_tokens": 500}]}
    said = {"output": {"text": TEXT, "finish_reason": "stop", "session_id": "s"}, "usage": usage, "request_id": "r"}
    server.will(streamed(said) if stream else json_reply(said))
    answer = dashscope.Application.call(
        app_id="app1", prompt=PROMPT, stream=stream, api_key="k", base_address=f"{server.url}/api/v1"
    )
    if stream:
        list(answer)
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.4e-6 + 500 * 1.2e-6)
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert TEXT in attributes["gen_ai.output.messages"]


SENTENCE = {"begin_time": 0, "end_time": 900, "words": []}


class Socket:
    """A server of the duplex protocol: it tells of a task that it has started, and of its end."""

    def __init__(self, *events: Any) -> None:
        self._events = events
        self._started = threading.Event()
        self.url = ""

    async def _answer(self, request: Any) -> Any:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        asked = await socket.receive_json()
        head = {"task_id": asked["header"]["task_id"], "attributes": {}}
        await socket.send_json({"header": {**head, "event": "task-started"}, "payload": {}})
        for event in self._events:
            if isinstance(event, bytes):
                await socket.send_bytes(event)
            else:
                headed = {"header": {**head, "event": event["event"]}, "payload": event["payload"]}
                await socket.send_json(headed)
        await socket.receive()
        return socket

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def __enter__(self) -> Socket:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *error: Any) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


def test_speech_over_a_socket_is_billed_by_its_characters(telemetry: Telemetry) -> None:
    """https://help.aliyun.com/zh/model-studio/sambert-websocket-api"""
    sentence = {"event": "result-generated", "payload": {"output": {"sentence": SENTENCE}, "usage": {"characters": 12}}}
    done = {"event": "task-finished", "payload": {"output": {"sentence": SENTENCE}, "usage": {"characters": 12}}}
    with Socket(b"audio", sentence, done) as socket:
        result = dashscope.audio.tts.SpeechSynthesizer.call(
            model="sambert-zhichu-v1", text="Hello there.", api_key="k", base_address=socket.url
        )
    assert result.get_audio_data() == b"audio"
    assert telemetry.span.name == "speech sambert-zhichu-v1"
    assert telemetry.attributes["genledger.usage.character"] == 12
    assert telemetry.attributes["server.address"] == "127.0.0.1"


def test_a_socket_that_nobody_answers_is_a_failed_call(server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(503, "text/plain", (b"No.",)))
    dashscope.audio.tts.SpeechSynthesizer.call(
        model="sambert-zhichu-v1", text="Hello.", api_key="k", base_address=server.url.replace("http", "ws")
    )
    assert telemetry.attributes["genledger.outcome"] == "error"
