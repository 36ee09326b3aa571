"""xAI's client beyond the contract: its usage, its own tracing, every method, and how gRPC calls fail."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tests.contract.grpc_server import GrpcServer, protobuf
from tests.contract.rows.xai_sdk import ASSISTANT, MODEL, STOP, USAGE, chunks, make, message, refusal, sent, whole
from tests.contract.server import Reply, serving
from tests.instrumentors.provider import items, now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

xai_sdk = pytest.importorskip("xai_sdk")
for _name in ("chat", "tools"):
    importlib.import_module(f"xai_sdk.{_name}")
COST = 1000 * 3e-6 + 500 * 15e-6


@pytest.fixture
def server() -> Iterator[Any]:
    with serving(lambda: GrpcServer("GetCompletionChunk")) as server:
        yield server


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: Any) -> Any:
    return make(server.url, request.param == "async", 0)


@contextlib.contextmanager
def recorded(**options: Any) -> Iterator[Telemetry]:
    with instrumented(libraries=["xai-sdk"], **options) as telemetry:
        yield telemetry
        assert_clean(
            telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=bool(options.get("capture_content"))
        )
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recorded() as telemetry:
        yield telemetry


def conversation(client: Any, **more: Any) -> Any:
    return client.chat.create(model=MODEL, messages=[xai_sdk.chat.user("What is the capital of France?")], **more)


def test_cached_and_reasoning_tokens_and_server_tools_have_their_own_buckets(server: Any, telemetry: Telemetry) -> None:
    server.will(whole({**USAGE, 4: 700, 5: 300, 7: 600, 9: [1, 1, 3]}))
    conversation(make(server.url, False, 0)).sample()
    said = telemetry.attributes
    assert said["gen_ai.usage.input_tokens"] == 1000
    assert said["gen_ai.usage.output_tokens"] == 500
    assert said["gen_ai.usage.cache_read.input_tokens"] == 600
    assert said["gen_ai.usage.reasoning.output_tokens"] == 100


def test_the_cost_that_the_provider_reports_counts(server: Any, telemetry: Telemetry) -> None:
    server.will(whole({**USAGE, 11: 123_000_000}))
    conversation(make(server.url, False, 0)).sample()
    # A tick is 1e-10 USD, says the documentation of the field.
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.0123)
    assert telemetry.attributes["genledger.cost.source"] == "provider"


def test_an_answer_without_usage_is_visibly_unpriced(server: Any, telemetry: Telemetry) -> None:
    server.will(whole({}))
    conversation(make(server.url, False, 0)).sample()
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"


async def test_the_clients_own_span_gives_way_to_ours_and_comes_back(
    client: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = Telemetry()
    tracers = [telemetry.tracer_provider.get_tracer("xai") for _ in range(2)]
    modules = (xai_sdk.sync.chat, xai_sdk.aio.chat)
    for module, tracer in zip(modules, tracers, strict=True):
        monkeypatch.setattr(module, "tracer", tracer)
    with recorded() as ours:
        server.will(whole())
        await now(conversation(client).sample())
        server.will(Reply(200, "application/grpc", chunks()))
        await items(conversation(client).stream())
        assert len(ours.spans) == 2
        assert not telemetry.spans
    assert [module.tracer for module in modules] == tracers
    await items(conversation(client).stream())
    assert [span.name for span in telemetry.spans] == [f"chat.stream {MODEL}"]


async def test_several_answers_to_one_request_are_one_call(client: Any, server: Any, telemetry: Telemetry) -> None:
    outputs = [{1: STOP, 2: index, 3: {1: "Paris.", 2: ASSISTANT}} for index in range(2)]
    server.will(message({1: "completion-1", 2: outputs, 6: MODEL, 9: USAGE}))
    with pytest.warns(PendingDeprecationWarning):
        answers = await now(conversation(client).sample_batch(2))
    assert [answer.content for answer in answers] == ["Paris."] * 2
    assert telemetry.attributes["gen_ai.request.choice.count"] == 2
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop", "stop")
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


class City(BaseModel):
    """A shape to parse."""

    name: str


async def test_a_parsed_answer_is_one_call(client: Any, server: Any, telemetry: Telemetry) -> None:
    server.will(whole(text='{"name": "Paris"}'))
    _, parsed = await now(conversation(client).parse(City))
    assert parsed == City(name="Paris")
    assert telemetry.attributes["gen_ai.output.type"] == "json"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_an_answer_that_cannot_be_parsed_is_paid_for(client: Any, server: Any, telemetry: Telemetry) -> None:
    server.will(whole(text="not JSON"))
    with pytest.raises(ValidationError):
        await now(conversation(client).parse(City))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "genledger.usage.estimated" not in telemetry.attributes


async def test_a_compaction_is_paid_for(client: Any, server: Any, telemetry: Telemetry) -> None:
    server.will(message({1: "compaction-1", 2: "sealed", 3: 4, 4: USAGE}))
    compacted = await now(conversation(client).compact())
    assert compacted.encrypted_content == "sealed"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_deferred_answer_is_one_call_however_often_it_is_asked_for(
    client: Any, server: Any, telemetry: Telemetry
) -> None:
    answer = whole().body[0]
    started, pending, done = {1: "request-1"}, {2: 3}, {2: 1, 1: answer}
    server.will(message(started), message(pending), message(pending), message(done))
    interval = datetime.timedelta(milliseconds=1)
    assert (await now(conversation(client).defer(interval=interval))).content == "The capital of France is Paris."
    assert len(server.requests) == 4
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_deferred_answer_that_is_not_waited_for_may_be_billed(
    client: Any, server: Any, telemetry: Telemetry
) -> None:
    server.will(message({1: "request-1"}), message({2: 3}))
    with pytest.raises(TimeoutError):
        await now(
            conversation(client).defer(
                timeout=datetime.timedelta(milliseconds=20), interval=datetime.timedelta(milliseconds=5)
            )
        )
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_a_deadline_is_a_timeout_that_may_be_billed(server: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/grpc", (), hangs=True))
    client = xai_sdk.Client(api_key="k", api_host=server.url, use_insecure_channel=True, timeout=0.2)
    with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
        await asyncio.to_thread(conversation(client).sample)
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["error.type"] == "DEADLINE_EXCEEDED"
    assert telemetry.attributes["genledger.usage.estimated"] is True
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_a_cancelled_call_may_be_billed(server: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/grpc", (), hangs=True))
    task = asyncio.create_task(conversation(make(server.url, True, 0)).sample())
    while not server.requests:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert telemetry.attributes["genledger.outcome"] == "cancelled"
    assert telemetry.attributes["genledger.cost.amount"] > 0


async def test_a_server_that_is_not_there_costs_nothing(telemetry: Telemetry) -> None:
    client = xai_sdk.Client(api_key="k", api_host="127.0.0.1:9", use_insecure_channel=True, timeout=20)
    with pytest.raises(Exception, match="UNAVAILABLE"):
        await asyncio.to_thread(conversation(client).sample)
    assert telemetry.attributes["error.type"] == "UNAVAILABLE"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_a_refused_stream_costs_nothing(client: Any, server: Any, telemetry: Telemetry) -> None:
    server.will(refusal(429, "too many"))
    with pytest.raises(Exception, match="too many"):
        await items(conversation(client).stream())
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert telemetry.attributes["error.type"] == "RESOURCE_EXHAUSTED"
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_a_budget_changes_what_is_sent_and_not_the_conversation(client: Any, server: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = 'at_limit="degrade"\ndegrade = { model = "grok-3-mini", max_output_tokens = 50 }'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\n{degrade}\n')
    chat = conversation(client, max_tokens=700)
    with recorded(budgets=str(rules), budget_store="memory:") as telemetry:
        server.will(Reply(200, "application/grpc", chunks()))
        await items(chat.stream())
        (request,) = server.requests
        assert (sent(request).model, sent(request).max_tokens) == ("grok-3-mini", 50)
        assert telemetry.attributes["gen_ai.request.model"] == "grok-3-mini"
    assert (chat.proto.model, chat.proto.max_tokens) == (MODEL, 700)


async def test_what_is_asked_and_answered_reads_as_messages(client: Any, server: Any) -> None:
    call = {1: "call-1", 10: {1: "weather", 2: '{"city": "Paris"}'}}
    output = {1: 4, 3: {2: ASSISTANT, 4: "Let me look.", 3: call}}
    server.will(message({1: "completion-1", 2: output, 6: MODEL, 9: USAGE}))
    tools = [xai_sdk.chat.tool("weather", "Look at the sky.", {"type": "object"}), xai_sdk.tools.web_search()]
    chat = conversation(client, tools=tools, temperature=0.5, reasoning_effort="low", stop=["END"])
    chat.append(xai_sdk.chat.system("Be brief."))
    with recorded(capture_content="span") as telemetry:
        await now(chat.sample())
        said = attributes_of(telemetry.span)
    assert said["gen_ai.request.temperature"] == 0.5
    assert said["gen_ai.request.reasoning.level"] == "low"
    assert said["gen_ai.request.stop_sequences"] == ("END",)
    assert '"role":"system"' in said["gen_ai.input.messages"]
    assert '"name":"weather"' in said["gen_ai.tool.definitions"]
    assert '"type":"web_search"' in said["gen_ai.tool.definitions"]
    assert '"type":"reasoning"' in said["gen_ai.output.messages"]
    assert '"type":"tool_call"' in said["gen_ai.output.messages"]
    assert said["gen_ai.response.finish_reasons"] == ("tool_calls",)


def test_messages_are_encoded_as_protobuf_does() -> None:
    from xai_sdk.proto import chat_pb2

    made = chat_pb2.GetChatCompletionResponse.FromString(protobuf({1: "a", 2: [{1: STOP, 2: 300}, {2: 1}]}))
    assert [(output.finish_reason, output.index) for output in made.outputs] == [(STOP, 300), (0, 1)]


# Images and videos

TICKS = {11: 700_000_000}  # 0.07 USD
VIDEO_DONE = {1: 1, 2: {1: {1: "https://vidgen.x.ai/1.mp4", 4: 6}, 2: "grok-imagine-video", 3: TICKS}}


async def test_images_cost_what_the_provider_says(client: Any, server: Any, telemetry: Telemetry) -> None:
    images = [{3: f"https://imgen.x.ai/{number}.jpg", 4: True} for number in range(2)]
    server.will(message({1: images, 2: "grok-imagine-image", 3: TICKS}))
    made = await now(client.image.sample_batch("A cat", "grok-imagine-image", 2))
    assert [one.url for one in made] == ["https://imgen.x.ai/0.jpg", "https://imgen.x.ai/1.jpg"]
    assert telemetry.span.name == "image_generation grok-imagine-image"
    assert telemetry.attributes["server.address"] == "127.0.0.1"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.07)
    assert telemetry.attributes["genledger.cost.source"] == "provider"


async def test_a_video_that_is_waited_for_is_one_call(client: Any, server: Any, telemetry: Telemetry) -> None:
    server.will(message({1: "video-1"}), message({1: 3}), message(VIDEO_DONE))
    interval = datetime.timedelta(milliseconds=1)
    made = await now(client.video.generate("A cat", "grok-imagine-video", duration=6, interval=interval))
    assert made.duration == 6
    assert telemetry.span.name == "generate_content grok-imagine-video"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.07)


async def test_a_video_that_is_asked_for_later_is_paid_by_who_started_it(client: Any, server: Any) -> None:
    server.will(message({1: "video-1"}), message({1: 3}), message(VIDEO_DONE))
    with recorded() as telemetry:
        with genledger.attribution(tenant="acme"):
            begun = await now(client.video.start("A cat", "grok-imagine-video", duration=6))
        for status in (3, 1):
            assert (await now(client.video.get(begun.request_id))).status == status
        (call,) = (span for span in telemetry.spans if span.name == "generate_content grok-imagine-video")
    attributes = attributes_of(call)
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["genledger.cost.amount"] == pytest.approx(0.07)


async def test_a_video_that_fails_is_an_error_of_the_provider(client: Any, server: Any) -> None:
    server.will(message({1: "video-1"}), message({1: 4, 2: {6: {1: "moderated", 2: "No."}}}))
    with recorded() as telemetry:
        begun = await now(client.video.start("A cat", "grok-imagine-video"))
        await now(client.video.get(begun.request_id))
        (call,) = (span for span in telemetry.spans if span.name == "generate_content grok-imagine-video")
    assert attributes_of(call)["error.type"] == "moderated"
    assert "genledger.cost.amount" not in attributes_of(call)
