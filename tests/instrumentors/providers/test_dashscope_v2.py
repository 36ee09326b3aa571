"""Alibaba's second client, over real sockets: what its chat rows of the contract suite do not show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.dashscope import MODEL, ROW, USAGE, part
from tests.contract.rows.dashscope_v2 import make
from tests.contract.rows.openai_chat import PROMPT, TEXT
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

v2: Any = pytest.importorskip("dashscope.v2")
errors: Any = pytest.importorskip("dashscope.v2.errors")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["dashscope"], capture_content="both", **ROW.options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


def events(*parts: dict[str, Any], name: str = "result") -> Reply:
    """A stream in Alibaba's own protocol."""
    sent = (f"id:{at}\nevent:{name}\n:HTTP_STATUS/200\ndata:{json.dumps(one)}\n\n" for at, one in enumerate(parts, 1))
    return Reply(200, "text/event-stream", tuple(one.encode() for one in sent))


def throttled(**more: Any) -> dict[str, Any]:
    """A refusal, as it is in an answer whose HTTP status is 200."""
    return {"code": "Throttling.RateQuota", "message": "Too many requests.", "request_id": "r", **more}


def chat(client: Any, **given: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=PROMPT, **given)


async def test_an_answer_in_alibabas_protocol_has_its_id_and_its_end(
    client: Any, server: Server, telemetry: Telemetry
) -> None:
    server.will(json_reply(part(TEXT, "stop", USAGE)))
    answer = await now(chat(client, temperature=0.5, top_p=0.8))
    assert answer.output_text == TEXT
    attributes = telemetry.attributes
    assert attributes["gen_ai.response.id"] == "req-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.request.temperature"] == 0.5
    assert attributes["gen_ai.request.top_p"] == 0.8


@pytest.mark.parametrize("incremental", [False, True])
async def test_a_stream_has_its_text_once_however_it_comes(
    client: Any, server: Server, telemetry: Telemetry, incremental: bool
) -> None:
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    said = words if incremental else ["".join(words[:count]) for count in range(1, len(words) + 1)]
    parts = [part(one, "null", {"input_tokens": 1000, "output_tokens": at}) for at, one in enumerate(said, 1)]
    server.will(events(*parts, part("" if incremental else TEXT, "stop", USAGE)))
    await items(await now(chat(client, stream=True, parameters={"incremental_output": incremental})))
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert json.loads(telemetry.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropics_protocol_is_read(
    server: Server, asynchronous: bool, telemetry: Telemetry, stream: bool
) -> None:
    client = make(server.url, asynchronous, 0, "anthropic")
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    usage = {"input_tokens": 1000, "output_tokens": 500}
    if stream:
        sent = [
            {"type": "message_start", "message": {**message, "usage": {"input_tokens": 1000, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 500}},
            {"type": "message_stop"},
        ]
        lines = (f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in sent)
        server.will(Reply(200, "text/event-stream", tuple(lines)))
        await items(await now(chat(client, stream=True)))
    else:
        said = {"content": [{"type": "text", "text": TEXT}], "stop_reason": "end_turn", "usage": usage}
        server.will(json_reply({**message, **said}))
        await now(chat(client))
    attributes = telemetry.attributes
    assert attributes["gen_ai.provider.name"] == "alibaba"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.4e-6 + 500 * 1.2e-6)
    assert TEXT in attributes["gen_ai.output.messages"]


async def test_a_refusal_may_be_an_answer(client: Any, server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply(throttled()))
    with pytest.raises(errors.RateLimitError):
        await now(chat(client))
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "Throttling.RateQuota"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_a_refusal_may_be_all_of_a_stream(client: Any, server: Server, telemetry: Telemetry) -> None:
    server.will(events(throttled(), name="error"))
    with pytest.raises(errors.RateLimitError):
        await items(await now(chat(client, stream=True)))
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "Throttling.RateQuota"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_does_not_raise_is_refused_all_the_same(
    server: Server, asynchronous: bool, telemetry: Telemetry, stream: bool
) -> None:
    kind = v2.AsyncClient if asynchronous else v2.Client
    client = kind(base_url=server.url, api_key="k", max_retries=0, raise_on_error=False)
    server.will(ROW.error(429))
    if stream:
        with pytest.raises(errors.RateLimitError):
            await now(chat(client, stream=True))
    else:
        assert (await now(chat(client))).is_error
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"


async def test_a_client_that_waits_no_longer_has_timed_out(client: Any, server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/json", (), hangs=True))
    with pytest.raises(errors.APITimeoutError):
        await now(chat(client, timeout=0.2))
    assert telemetry.attributes["genledger.outcome"] == "timeout"


async def test_attempts_are_one_call_with_the_reason_for_each(
    server: Server, asynchronous: bool, telemetry: Telemetry
) -> None:
    error = json_reply({"code": "InternalError", "message": "No."}, 503, **{"retry-after-ms": "1"})
    lost = Reply(200, "application/json", (), breaks=True)
    server.will(error, lost, json_reply(part(TEXT, "stop", USAGE)))
    try:
        raise KeyError("what the application deals with has nothing to do with an attempt")
    except KeyError:
        await now(chat(make(server.url, asynchronous, 2)))
    assert len(server.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("503", "connection")


async def test_the_last_attempt_is_not_sent_again(server: Server, asynchronous: bool, telemetry: Telemetry) -> None:
    server.will(json_reply(throttled(), 429, **{"retry-after-ms": "1"}))
    with pytest.raises(errors.RateLimitError):
        await now(chat(make(server.url, asynchronous, 1)))
    assert telemetry.attributes["genledger.attempts"] == len(server.requests) == 2
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"


async def test_a_lost_attempt_may_leave_nothing_for_the_next(
    server: Server, asynchronous: bool, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="once"\nrequests=1\nper="day"\n')
    server.will(Reply(504, "text/plain", (b"",), {"retry-after-ms": "1"}))
    options = {**ROW.options, "budgets": str(rules), "budget_store": "memory:"}
    with instrumented(libraries=["dashscope"], **options) as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            await now(chat(make(server.url, asynchronous, 2)))
        assert len(server.requests) == 1
        assert telemetry.attributes["genledger.outcome"] == "blocked"


async def test_the_platform_is_the_provider_and_another_ones_host_is_not(
    asynchronous: bool, telemetry: Telemetry
) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/regions"""
    httpx = pytest.importorskip("httpx")
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=part(TEXT, "stop", USAGE)))
    kind, http = (v2.AsyncClient, httpx.AsyncClient) if asynchronous else (v2.Client, httpx.Client)
    hosts = {"ws1.cn-beijing.maas.aliyuncs.com": "alibaba", "api.deepseek.com": "deepseek"}
    for host in hosts:
        http_client = http(transport=transport, base_url=f"https://{host}/v1")
        client = kind(base_url=f"https://{host}/v1", api_key="k", http_client=http_client, protocol="openai")
        await now(chat(client))
    found = {
        (span.attributes or {})["server.address"]: (span.attributes or {})["gen_ai.provider.name"]
        for span in telemetry.spans
    }
    assert found == hosts


Ask = Callable[[Any], Any]
ONE: list[tuple[str, Ask, dict[str, Any], dict[str, Any]]] = [
    (
        "embeddings text-embedding-v4",
        lambda client: client.embeddings.create(model="text-embedding-v4", input="hello", dimension=256),
        {"output": {"embeddings": [{"text_index": 0, "embedding": [0.1]}]}, "usage": {"total_tokens": 7}},
        {"gen_ai.usage.input_tokens": 7, "gen_ai.embeddings.dimension.count": 256},
    ),
    (
        "embeddings tongyi-embedding-vision-plus",
        lambda client: client.multimodal.embeddings.create(
            model="tongyi-embedding-vision-plus", input=[{"text": "a"}, {"image": "https://example.com/1.png"}]
        ),
        {"output": {"embeddings": []}, "usage": {"input_tokens": 10, "image_tokens": 896, "image_count": 1}},
        {"gen_ai.usage.input_tokens": 906, "gen_ai.usage.image.input_tokens": 896},
    ),
    (
        "rerank gte-rerank-v2",
        lambda client: client.rerank.create(model="gte-rerank-v2", query="capital", documents=["Paris"], top_n=1),
        {"output": {"results": [{"index": 0, "relevance_score": 0.9}]}, "usage": {"total_tokens": 9}},
        {"gen_ai.usage.input_tokens": 9},
    ),
    (
        "chat qwen-vl-max",
        lambda client: client.multimodal.chat.create(
            model="qwen-vl-max",
            messages=[{"role": "user", "content": [{"type": "image", "url": "https://example.com/1.png"}]}],
        ),
        part(TEXT, "stop", {"input_tokens": 1271, "input_tokens_details": {"image_tokens": 1247}, "output_tokens": 5}),
        {"gen_ai.usage.input_tokens": 1271, "gen_ai.usage.image.input_tokens": 1247},
    ),
    (
        "chat wan2.6-t2i",
        lambda client: client.images.generate(model="wan2.6-t2i", prompt="Paris"),
        {
            "output": {"choices": [{"message": {"content": [{"image": "https://example.com/1.png"}]}}]},
            "usage": {"image_count": 1},
        },
        {"genledger.usage.image": 1},
    ),
    (
        "generate_content decision-model-preview",
        lambda client: client.decision.create(
            model="decision-model-preview",
            state="The bill is wrong.",
            questions={"team": {"type": "choice", "criteria": {"billing": "Bills"}}},
        ),
        {
            "model": "decision-model-preview",
            "answers": {"team": {"type": "choice", "choice": "billing"}},
            "usage": {"input_tokens": 30, "output_tokens": 2, "total_tokens": 32},
        },
        {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 2, "gen_ai.output.type": "json"},
    ),
]


@pytest.mark.parametrize(("name", "ask", "answer", "expected"), ONE, ids=[one[0] for one in ONE])
async def test_each_operation_counts_what_it_is_billed_by(
    client: Any,
    server: Server,
    telemetry: Telemetry,
    name: str,
    ask: Ask,
    answer: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    server.will(json_reply({**answer, "request_id": "r"}))
    await now(ask(client))
    assert telemetry.span.name == name
    assert telemetry.attributes.items() >= expected.items()
    assert telemetry.attributes["genledger.outcome"] == "success"


def task(status: str, usage: Any = None, **output: Any) -> Reply:
    said = {"task_id": "t1", "task_status": status, **output}
    return json_reply({"output": said, "request_id": "r", **({"usage": usage} if usage is not None else {})})


JOBS: list[tuple[str, Ask, dict[str, Any], str, float]] = [
    (
        "wan2.2-t2i-flash",
        lambda client: client.images.generate(model="wan2.2-t2i-flash", prompt="Paris", poll_interval=0.01),
        {"image_count": 2},
        "genledger.usage.image",
        2,
    ),
    (
        "wan2.5-t2v",
        lambda client: client.videos.generate(model="wan2.5-t2v", prompt="Paris", poll_interval=0.01),
        {"duration": 5, "SR": 720, "video_count": 1},
        "genledger.usage.720p_second",
        5,
    ),
    (
        "paraformer-v2",
        lambda client: client.audio.asr.transcribe(
            model="paraformer-v2", file_urls=["https://a/a.mp3"], poll_interval=0.01
        ),
        {"duration": 12},
        "genledger.usage.second",
        12,
    ),
]


@pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API:FutureWarning")
@pytest.mark.parametrize("job", JOBS, ids=[job[0] for job in JOBS])
async def test_a_task_is_one_call_from_its_creation_to_its_end(
    client: Any, server: Server, telemetry: Telemetry, job: tuple[str, Ask, dict[str, Any], str, float]
) -> None:
    model, ask, usage, unit, count = job
    server.will(task("PENDING"), task("RUNNING"), task("SUCCEEDED", usage, results=[]))
    assert (await now(ask(client))).succeeded
    (created,) = (span for span in telemetry.spans if span.name.endswith(model))
    attributes = dict(created.attributes or {})
    assert attributes["gen_ai.response.id"] == "t1"
    assert attributes[unit] == count
    assert [span.name for span in telemetry.spans].count("fetch_response") == 2


async def test_a_task_that_fails_ends_its_call(client: Any, server: Server, telemetry: Telemetry) -> None:
    server.will(task("PENDING"), task("FAILED", code="DataInspectionFailed", message="No."))
    with pytest.raises(errors.DashScopeError):
        await now(client.videos.generate(model="wan2.5-t2v", prompt="Paris", poll_interval=0.01))
    (created,) = (span for span in telemetry.spans if span.name.endswith("wan2.5-t2v"))
    attributes = dict(created.attributes or {})
    assert attributes["error.type"] == "DataInspectionFailed"
    assert attributes["genledger.outcome"] == "error"


@pytest.mark.filterwarnings("ignore:dashscope 2.0 audio API:FutureWarning")
@pytest.mark.parametrize("model", ["cosyvoice-v3-flash", "qwen3-tts-flash"])
@pytest.mark.parametrize("stream", [False, True])
def test_speech_is_billed_by_its_characters(server: Server, telemetry: Telemetry, stream: bool, model: str) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/cosyvoice-http-api"""
    http = make(server.url, False, 0).audio.tts.http
    audio = {"data": "", "url": "https://example.com/a.wav", "id": "a1", "expires_at": 1}
    done = {"output": {"audio": audio, "finish_reason": "stop"}, "usage": {"characters": 12}, "request_id": "r"}
    if stream:
        server.will(events({"output": {"audio": {"data": "YWJj"}}, "request_id": "r"}, done))
        chunks = list(http.stream("Hello there.", model=model, voice="v"))
        assert chunks[0].audio == b"abc"
    else:
        server.will(json_reply(done))
        http.synthesize("Hello there.", model=model, voice="v")
    assert telemetry.attributes["genledger.usage.character"] == 12
    assert telemetry.attributes["gen_ai.request.model"] == model


@pytest.mark.parametrize("stream", [False, True])
async def test_an_application_consumes_what_its_models_do(
    client: Any, server: Server, telemetry: Telemetry, stream: bool
) -> None:
    """https://www.alibabacloud.com/help/en/model-studio/call-application-through-api"""
    usage = {"models": [{"model_id": MODEL, "input_tokens": 1000, "output_tokens": 500}]}
    said = {"output": {"text": TEXT, "finish_reason": "stop", "session_id": "s"}, "usage": usage, "request_id": "r"}
    server.will(events(said) if stream else json_reply(said))
    answer = await now(client.apps.completions.create(app_id="app1", prompt=PROMPT, stream=stream))
    if stream:
        await items(answer)
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.4e-6 + 500 * 1.2e-6)
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert TEXT in attributes["gen_ai.output.messages"]


async def test_what_is_not_inference_is_no_call(client: Any, server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"output": {"models": [], "total": 0}, "request_id": "r"}))
    await now(client.models.list())
    assert not telemetry.spans
