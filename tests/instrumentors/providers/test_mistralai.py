"""Mistral's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.util._once import Once
from tests.contract.rows.mistralai import MODEL, PROMPT, ROW, Client, make
from tests.contract.rows.openai_chat import TEXT, USAGE, chunks, whole
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented
from .entries import Entries

pytest.importorskip("mistralai")

HELLO = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["mistralai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Client:
    return make(server.url, asynchronous, 0)


async def ask(client: Client, resource: str, method: str, **given: Any) -> Any:
    """Call a method of a resource, in the client's way."""
    found = client.sdk
    for name in resource.split("."):
        found = getattr(found, name)
    return await now(getattr(found, f"{method}{'_async' if client.asynchronous else ''}")(**given))


async def test_fill_in_the_middle_is_a_priced_text_completion(
    server: Server, client: Client, telemetry: Telemetry
) -> None:
    server.will(whole("codestral-2501"))
    await ask(client, "fim", "complete", model="codestral-2501", prompt="def add(", suffix="return a + b")
    assert telemetry.span.name == "text_completion codestral-2501"
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6 + 500 * 0.9e-6)


async def test_a_stream_that_fills_in_the_middle_is_priced(
    server: Server, client: Client, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "text/event-stream", chunks("codestral-2501", usage=USAGE)))
    await items(await ask(client, "fim", "stream", model="codestral-2501", prompt="def add("))
    assert telemetry.span.name == "text_completion codestral-2501"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.3e-6 + 500 * 0.9e-6)


async def test_an_agent_is_priced_by_the_model_that_answered(
    server: Server, client: Client, telemetry: Telemetry
) -> None:
    server.will(whole(MODEL))
    await ask(client, "agents", "complete", agent_id="ag_1", messages=HELLO)
    assert telemetry.span.name == f"chat {MODEL}"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)
    server.will(Reply(200, "text/event-stream", chunks(MODEL, usage=USAGE)))
    telemetry.clear()
    await items(await ask(client, "agents", "stream", agent_id="ag_1", messages=HELLO))
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)


async def test_embeddings_are_priced(server: Server, client: Client, telemetry: Telemetry) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    vectors = [{"object": "embedding", "embedding": [0.1], "index": 0}]
    server.will(json_reply({"id": "e1", "object": "list", "model": "mistral-embed", "data": vectors, "usage": usage}))
    await ask(client, "embeddings", "create", model="mistral-embed", inputs=["a text"], output_dimension=256)
    assert telemetry.span.name == "embeddings mistral-embed"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
    assert telemetry.attributes["gen_ai.embeddings.dimension.count"] == 256
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.1e-6)


DOCUMENT = {"type": "document_url", "document_url": "https://example.com/a.pdf"}


def pages(count: int) -> Reply:
    page = {"markdown": TEXT, "images": [], "dimensions": None}
    used = {"pages_processed": count, "doc_size_bytes": 9}
    read = [{"index": index, **page} for index in range(count)]
    return json_reply({"model": "mistral-ocr-2512", "pages": read, "usage_info": used})


async def test_reading_a_document_is_priced_by_its_pages(server: Server, client: Client, telemetry: Telemetry) -> None:
    server.will(pages(3))
    await ask(client, "ocr", "process", model="mistral-ocr-2512", document=DOCUMENT)
    assert telemetry.span.name == "ocr mistral-ocr-2512"
    assert telemetry.attributes["gen_ai.response.model"] == "mistral-ocr-2512"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(3 * 0.002)


async def test_budgets_reserve_the_pages_that_may_be_read(server: Server, client: Client, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nusd=0.01\nper="day"\n')
    server.will(pages(2))
    with instrumented(libraries=["mistralai"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(BudgetExceeded):
            await ask(client, "ocr", "process", model="mistral-ocr-2512", document=DOCUMENT)
        assert server.requests == []
        await ask(client, "ocr", "process", model="mistral-ocr-2512", document=DOCUMENT, pages=[0, 1])
        assert len(server.requests) == 1


async def test_a_moderation_is_a_call(server: Server, client: Client, telemetry: Telemetry) -> None:
    result = {"categories": {"sexual": False}, "category_scores": {"sexual": 0.1}}
    server.will(json_reply({"id": "m1", "model": "mistral-moderation-2411", "results": [result]}))
    await ask(client, "classifiers", "moderate", model="mistral-moderation-2411", inputs=["a text"])
    assert telemetry.span.name == "moderation mistral-moderation-2411"
    assert telemetry.attributes["genledger.outcome"] == "success"
    assert "genledger.cost.amount" not in telemetry.attributes
    assert telemetry.attributes["genledger.cost.unpriced"]


async def test_a_transcription_is_priced_by_its_seconds(server: Server, client: Client, telemetry: Telemetry) -> None:
    if not hasattr(client.sdk, "audio"):
        pytest.skip("this version does not transcribe")
    used = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "prompt_audio_seconds": 60}
    answer = {"model": "voxtral-mini-latest", "text": TEXT, "language": "en", "segments": [], "usage": used}
    server.will(json_reply(answer))
    file = {"content": b"RIFF", "file_name": "a.wav"}
    await ask(client, "audio.transcriptions", "complete", model="voxtral-mini-latest", file=file)
    assert telemetry.span.name == "transcription voxtral-mini-latest"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(60 * 0.00005)


async def test_what_is_degraded_keeps_everything_else(server: Server, client: Client, tmp_path: Path) -> None:
    given = {"model": MODEL, "messages": HELLO, "max_tokens": 900, "temperature": 0.5, "random_seed": 7}
    server.will(ROW.whole)
    await ask(client, "chat", "complete", http_headers={"x-own": "1"}, **given)
    (without,) = server.requests
    rules = tmp_path / "rules.toml"
    degrade = f'degrade = {{ model = "{ROW.cheaper}", max_output_tokens = 50 }}'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(ROW.whole)
    with instrumented(libraries=["mistralai"], budgets=str(rules), budget_store="memory:") as telemetry:
        await ask(client, "chat", "complete", http_headers={"x-own": "1"}, **given)
        (request,) = server.requests
        assert request.json == {**without.json, "model": ROW.cheaper, "max_tokens": 50}
        assert request.path == without.path
        differing = {"content-length"}
        assert {name: value for name, value in request.headers.items() if name.lower() not in differing} == {
            name: value for name, value in without.headers.items() if name.lower() not in differing
        }
        assert telemetry.attributes["gen_ai.request.seed"] == 7


async def test_an_attempt_that_a_gateway_gave_up_on_is_counted(
    server: Server, asynchronous: bool, telemetry: Telemetry
) -> None:
    server.will(json_reply({"message": "no"}, 504), ROW.whole)
    client = make(server.url, asynchronous, 2)
    await ask(client, "chat", "complete", model=MODEL, messages=HELLO, max_tokens=1000)
    attributes = telemetry.attributes
    assert attributes["genledger.attempts"] == len(server.requests) == 2
    assert attributes["genledger.retry.causes"] == ("504",)
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 500 + 1000


async def test_an_attempt_whose_answer_broke_off_is_paid_for(
    server: Server, client: Client, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "application/json", (b'{"id": ',), breaks=True))
    with pytest.raises(Exception, match="incomplete chunked read"):
        await ask(client, "chat", "complete", model=MODEL, messages=HELLO, max_tokens=1000)
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 1000
    assert telemetry.attributes["genledger.usage.estimated"] is True


async def test_a_refused_attempt_is_not_tried_again(server: Server, asynchronous: bool, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="one"\nusd=0.001\nper="day"\n')  # 1000 tokens of output are 0.0006 USD
    server.will(json_reply({"message": "no"}, 504), ROW.whole)
    client = make(server.url, asynchronous, 2)
    with instrumented(libraries=["mistralai"], budgets=str(rules), budget_store="memory:") as telemetry:
        with pytest.raises(BudgetExceeded):
            await ask(client, "chat", "complete", model=MODEL, messages=HELLO, max_tokens=1000)
        assert len(server.requests) == 1
        assert telemetry.attributes["genledger.outcome"] == "blocked"
        assert telemetry.attributes["genledger.attempts"] == 2


async def test_thoughts_of_a_stream_are_read(server: Server, client: Client) -> None:
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    deltas = ({"role": "assistant", "content": ""}, {"content": thought}, {"content": TEXT})
    streamed = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {**head, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}], "usage": USAGE}
    server.will(Reply(200, "text/event-stream", sse(*streamed, last, done=True)))
    with instrumented(libraries=["mistralai"], capture_content="span") as telemetry:
        await items(await ask(client, "chat", "stream", model=MODEL, messages=HELLO))
        (answered,) = json.loads(telemetry.attributes["gen_ai.output.messages"])
        assert answered["parts"] == [
            {"type": "reasoning", "content": "Hm."},
            {"type": "text", "content": TEXT},
        ]


async def test_content_in_parts_of_mistrals_own_is_parts_of_the_conventions(server: Server, client: Client) -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}, {"type": "text", "text": " Yes."}]}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": TEXT}]}
    document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
    speech = {"type": "input_audio", "input_audio": "UklGRg=="}
    asked = [*HELLO, said, {"role": "user", "content": [document, speech]}]
    answer = json.loads(whole(MODEL).body[0])
    answer["choices"][0]["message"] = said
    server.will(json_reply(answer))
    with instrumented(libraries=["mistralai"], capture_content="span") as telemetry:
        await ask(client, "chat", "complete", model=MODEL, messages=asked)
        _, before, last = json.loads(telemetry.attributes["gen_ai.input.messages"])
        (answered,) = json.loads(telemetry.attributes["gen_ai.output.messages"])
    thoughts = [{"type": "reasoning", "content": "Hm. Yes."}, {"type": "text", "content": TEXT}]
    assert answered["parts"] == before["parts"] == thoughts
    assert last["parts"][0] == {"type": "uri", "modality": "document", "uri": document["document_url"]}
    assert last["parts"][1]["modality"] == "audio"
    assert last["parts"][1]["uri"].startswith("sha256:")


@pytest.fixture
def as_global(telemetry: Telemetry) -> Iterator[Telemetry]:
    """Genledger writes to the global provider, which the client's own spans go to as well."""
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = telemetry.tracer_provider, Once()
    try:
        yield telemetry
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = before


def speaking_of_usage(spans: tuple[ReadableSpan, ...]) -> list[ReadableSpan]:
    return [span for span in spans if any(name.startswith("gen_ai.usage.") for name in span.attributes or ())]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_one_span_speaks_of_usage_when_the_client_traces_too(
    server: Server, asynchronous: bool, as_global: Telemetry, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    client = make(server.url, asynchronous, 0)
    server.will(ROW.streamed() if stream else ROW.whole)
    answer = await ask(client, "chat", "stream" if stream else "complete", model=MODEL, messages=HELLO)
    if stream:
        await items(answer)
    (ours,) = speaking_of_usage(as_global.spans)
    assert ours.attributes is not None
    assert ours.attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)
    assert not [span for span in as_global.spans if span.instrumentation_scope.name == "mistralai_sdk_tracer"]
    parent = server.requests[0].headers.get("traceparent")
    if parent is not None:
        assert ours.context is not None
        assert parent.split("-")[2] == f"{ours.context.span_id:016x}"


async def test_a_global_provider_that_genledger_does_not_write_to_keeps_the_clients_spans(
    server: Server, asynchronous: bool, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Telemetry()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", elsewhere.tracer_provider)
    monkeypatch.setenv("MISTRAL_SDK_TELEMETRY", "global")
    server.will(ROW.whole)
    with elsewhere.tracer_provider.get_tracer("app").start_as_current_span("app") as around:
        await ask(make(server.url, asynchronous, 0), "chat", "complete", model=MODEL, messages=HELLO)
    (theirs,) = speaking_of_usage(elsewhere.spans)
    assert theirs.parent is not None
    assert theirs.parent.span_id == around.get_span_context().span_id
    assert len(speaking_of_usage(telemetry.spans)) == 1


def test_what_the_client_tells_mistral_stays(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pytest.importorskip("mistralai.extra.observability.telemetry")
    monkeypatch.setenv("MISTRAL_OTLP_TRACES_ENDPOINT", f"{server.url}/own")
    client = make(server.url, False, 0).sdk
    own.configure_telemetry(client)
    server.will(ROW.whole)
    client.chat.complete(model=MODEL, messages=HELLO)
    own.get_telemetry_tracer(client).span_processor.force_flush()
    sent = [request for request in server.requests if request.path == "/own"]
    assert len(sent) == 1
    assert b"gen_ai.usage.output_tokens" in sent[0].body
    assert len(telemetry.spans) == 1


SAID = {"type": "message.output", "content": "Paris.", "model": MODEL, "id": "m1"}
CONVERSED = {
    "conversation_id": "conv_1",
    "object": "conversation.response",
    "outputs": [SAID],
    "usage": {
        "prompt_tokens": 800,
        "completion_tokens": 500,
        "total_tokens": 1500,
        "connector_tokens": 200,
        "connectors": {"web_search": 1},
    },
}
COST = 1000 * 0.15e-6 + 500 * 0.6e-6 + 0.03
"""https://docs.mistral.ai/inference/pricing"""


@pytest.mark.parametrize("method", ["start", "append", "restart"])
async def test_a_turn_of_a_conversation_is_priced_by_the_model_that_answered(
    server: Server, asynchronous: bool, method: str
) -> None:
    server.will(json_reply(CONVERSED))
    with instrumented(libraries=["mistralai"], capture_content="span") as telemetry:
        given: dict[str, Any] = {"inputs": PROMPT}
        given |= {"agent_id": "ag_1"} if method == "start" else {"conversation_id": "conv_1"}
        given |= {"from_entry_id": "e1"} if method == "restart" else {}
        await ask(make(server.url, asynchronous, 0), "beta.conversations", method, **given)
        attributes = telemetry.attributes
        assert attributes["gen_ai.operation.name"] == "chat"
        assert attributes["gen_ai.conversation.id"] == "conv_1"
        assert attributes["gen_ai.response.model"] == MODEL
        assert attributes["gen_ai.usage.input_tokens"] == 1000
        assert attributes["genledger.cost.amount"] == pytest.approx(COST)
        assert PROMPT in attributes["gen_ai.input.messages"]
        assert "Paris." in attributes["gen_ai.output.messages"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)


async def test_a_streamed_turn_of_a_conversation_is_priced(
    server: Server, client: Client, telemetry: Telemetry
) -> None:
    at = {"created_at": "2026-11-30T00:00:00Z"}
    events = [
        {"type": "conversation.response.started", "conversation_id": "conv_1", **at},
        {"type": "message.output.delta", "id": "m1", "content": "Par", "model": MODEL, **at},
        {"type": "message.output.delta", "id": "m1", "content": "is.", "model": MODEL, **at},
        {"type": "conversation.response.done", "usage": CONVERSED["usage"], **at},
    ]
    server.will(Reply(200, "text/event-stream", sse(*events, named=True)))
    await items(await ask(client, "beta.conversations", "start_stream", model=MODEL, inputs=PROMPT))
    assert telemetry.span.name == f"chat {MODEL}"
    assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500
    assert telemetry.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


JOB = {
    "id": "b1",
    "object": "batch",
    "input_files": ["f0"],
    "endpoint": "/v1/chat/completions",
    "errors": [],
    "model": MODEL,
    "status": "QUEUED",
    "created_at": 1790000000,
    "total_requests": 1,
    "completed_requests": 0,
    "succeeded_requests": 0,
    "failed_requests": 0,
}


@pytest.mark.parametrize("inline", [False, True])
async def test_a_batch_is_paid_for_when_its_results_are_read(server: Server, client: Client, inline: bool) -> None:
    """https://docs.mistral.ai/capabilities/batch"""
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    body = {"id": "c1", "object": "chat.completion", "model": MODEL, "choices": [], "usage": usage}
    line = {"id": "l1", "custom_id": "a", "response": {"status_code": 200, "body": body}, "error": None}
    done = {**JOB, "status": "SUCCESS", **({"outputs": [line]} if inline else {"output_file": "f1"})}
    result = Reply(200, "application/octet-stream", (json.dumps(line).encode() + b"\n",))
    server.will(json_reply(JOB), json_reply(done), result)
    entries = Entries()
    with instrumented(libraries=["mistralai"], destinations=[entries]) as telemetry:
        with genledger.attribution(tenant="acme"):
            given = {"input_files": ["f0"], "model": MODEL, "endpoint": "/v1/chat/completions"}
            await ask(client, "batch.jobs", "create", **given)
        await ask(client, "batch.jobs", "get", job_id="b1")
        if not inline:
            file = await ask(client, "files", "download", file_id="f1")
            await now(file.aread() if client.asynchronous else file.read())
        (priced,) = entries.results
        assert priced.attribution.tenant == "acme"
        assert priced.cost is not None
        assert priced.cost.amount == pytest.approx((1000 * 0.15e-6 + 500 * 0.6e-6) / 2)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


async def test_a_file_that_is_no_batchs_is_no_call(server: Server, client: Client, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/octet-stream", (b"{}",)))
    file = await ask(client, "files", "download", file_id="f9")
    await now(file.aread() if client.asynchronous else file.read())
    assert not telemetry.spans


async def test_a_classification_is_a_call(server: Server, client: Client, telemetry: Telemetry) -> None:
    server.will(json_reply({"id": "k1", "model": "my-classifier", "results": []}))
    await ask(client, "classifiers", "classify", model="my-classifier", inputs=["hello"])
    assert telemetry.span.name == "moderation my-classifier"
