"""Cohere's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.cohere import MODEL, PROMPT, ROW, TEXT, USAGE
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, attributes_of, instrumented

cohere = pytest.importorskip("cohere")
httpx = pytest.importorskip("httpx")

HELLO = [{"role": "user", "content": PROMPT}]
WHOLE = ROW.whole


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["cohere"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["cohere"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


def over_httpx(asynchronous: bool) -> Any:
    """Return what sends. Left to itself, the client takes aiohttp if it can, and a broken answer is another error."""
    return httpx.AsyncClient(timeout=20) if asynchronous else httpx.Client(timeout=20)


@pytest.fixture
def version_1(server: Server, asynchronous: bool) -> Any:
    kind = cohere.AsyncClient if asynchronous else cohere.Client
    return kind(api_key="k", base_url=server.url, timeout=20, httpx_client=over_httpx(asynchronous))


@pytest.fixture
def version_2(server: Server, asynchronous: bool) -> Any:
    kind = cohere.AsyncClientV2 if asynchronous else cohere.ClientV2
    return kind(api_key="k", base_url=server.url, timeout=20, httpx_client=over_httpx(asynchronous))


def embeddings(count: int, tokens: int) -> Reply:
    return json_reply(
        {
            "id": "e1",
            "response_type": "embeddings_by_type",
            "embeddings": {"float": [[0.1, 0.2]] * count},
            "texts": ["x"] * count,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
        }
    )


def lines(*events: dict[str, Any]) -> Reply:
    return Reply(200, "application/stream+json", tuple(json.dumps(event).encode() + b"\n" for event in events))


async def test_embeddings_are_priced_by_the_tokens_that_are_billed(
    server: Server, version_2: Any, telemetry: Telemetry
) -> None:
    server.will(embeddings(1, 1000))
    await now(
        version_2.embed(
            model="embed-v4.0",
            texts=["a text"],
            input_type="search_document",
            embedding_types=["float"],
            output_dimension=256,
        )
    )
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings embed-v4.0"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.12e-6)
    assert attributes["gen_ai.embeddings.dimension.count"] == 256
    assert attributes["gen_ai.request.encoding_formats"] == ("float",)


async def test_each_batch_of_texts_is_a_call_of_who_asked_for_all(
    server: Server, version_1: Any, telemetry: Telemetry
) -> None:
    server.will(embeddings(96, 100))
    with genledger.attribution(tenant="acme"):
        await now(
            version_1.embed(
                model="embed-v4.0", texts=["x"] * 200, input_type="search_document", embedding_types=["float"]
            )
        )
    found = [attributes_of(span) for span in telemetry.spans]
    assert len(found) == len(server.requests) == 3
    assert {one["genledger.tenant.id"] for one in found} == {"acme"}
    assert sum(one["gen_ai.usage.input_tokens"] for one in found) == 300


async def test_a_rerank_is_priced_by_its_search_units(server: Server, version_2: Any, capturing: Telemetry) -> None:
    billed = {"meta": {"billed_units": {"search_units": 2}}}
    server.will(json_reply({"id": "r1", "results": [{"index": 0, "relevance_score": 0.9}], **billed}))
    await now(version_2.rerank(model="rerank-v3.5", query=PROMPT, documents=["Paris."] * 150, top_n=1))
    attributes = capturing.attributes
    assert capturing.span.name == "rerank rerank-v3.5"
    assert attributes["genledger.cost.amount"] == pytest.approx(2 * 0.002)
    assert attributes["gen_ai.response.id"] == "r1"
    assert attributes["gen_ai.retrieval.top_k"] == 1
    assert attributes["gen_ai.retrieval.query.text"] == PROMPT


async def test_budgets_reserve_a_rerank_by_its_documents(
    server: Server, version_2: Any, telemetry: Telemetry, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    # 150 documents are two search units of 0.002 USD.
    rules.write_text('[[budget]]\nname="small"\nusd=0.003\nper="day"\n')
    server.will(json_reply({"id": "r1", "results": [], "meta": {"billed_units": {"search_units": 1}}}))
    with instrumented(libraries=["cohere"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(BudgetExceeded):
            await now(version_2.rerank(model="rerank-v3.5", query=PROMPT, documents=["Paris."] * 150))
        assert server.requests == []
        await now(version_2.rerank(model="rerank-v3.5", query=PROMPT, documents=["Paris."] * 50))
        assert len(server.requests) == 1


VERSION_1 = {
    "response_id": "resp-1",
    "generation_id": "gen-1",
    "text": TEXT,
    "finish_reason": "COMPLETE",
    "chat_history": [],
    "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 1000, "output_tokens": 500}},
}


async def test_version_1_of_the_chat_is_priced_and_read(server: Server, version_1: Any, capturing: Telemetry) -> None:
    server.will(json_reply(VERSION_1))
    history = [{"role": "USER", "message": "Hello"}, {"role": "CHATBOT", "message": "Hi"}]
    await now(version_1.chat(model=MODEL, message=PROMPT, chat_history=history, preamble="Be brief."))
    attributes = capturing.attributes
    assert attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)
    assert attributes["gen_ai.response.id"] == "gen-1"
    assert attributes["gen_ai.response.finish_reasons"] == ("COMPLETE",)
    asked = json.loads(attributes["gen_ai.input.messages"])
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert asked[-1]["parts"] == [{"type": "text", "content": PROMPT}]
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    (answered,) = json.loads(attributes["gen_ai.output.messages"])
    assert answered["parts"] == [{"type": "text", "content": TEXT}]
    assert answered["finish_reason"] == "stop"


STREAM_1 = (
    {"is_finished": False, "event_type": "stream-start", "generation_id": "gen-1"},
    *({"is_finished": False, "event_type": "text-generation", "text": f"{word} "} for word in TEXT.split()),
    {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": VERSION_1},
)


async def test_a_stream_of_json_lines_is_priced(server: Server, version_1: Any, telemetry: Telemetry) -> None:
    server.will(lines(*STREAM_1))
    chunks = await items(version_1.chat_stream(model=MODEL, message=PROMPT))
    assert len(chunks) == len(STREAM_1)
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)
    assert attributes["gen_ai.response.id"] == "gen-1"
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert "genledger.usage.estimated" not in attributes


async def test_json_lines_that_break_off_count_what_came(server: Server, version_1: Any, telemetry: Telemetry) -> None:
    whole = lines(*STREAM_1)
    server.will(Reply(200, whole.kind, whole.body[:4], breaks=True))
    with pytest.raises(Exception, match="incomplete chunked read"):
        await items(version_1.chat_stream(model=MODEL, message=PROMPT))
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0


async def test_a_completion_is_priced_and_read(server: Server, version_1: Any, capturing: Telemetry) -> None:
    generation = {"id": "g1", "text": TEXT, "finish_reason": "COMPLETE"}
    server.will(json_reply({"id": "gen-1", "prompt": PROMPT, "generations": [generation], "meta": VERSION_1["meta"]}))
    await now(version_1.generate(model="command-r-08-2024", prompt=PROMPT))
    attributes = capturing.attributes
    assert capturing.span.name == "text_completion command-r-08-2024"
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.15e-6 + 500 * 0.6e-6)
    assert PROMPT in attributes["gen_ai.input.messages"]
    assert TEXT in attributes["gen_ai.output.messages"]


async def test_a_stream_belongs_to_who_asked_for_it_whoever_reads_it(
    server: Server, telemetry: Telemetry, version_2: Any
) -> None:
    server.will(ROW.streamed())
    with genledger.attribution(tenant="asked"):
        stream = version_2.chat_stream(model=MODEL, messages=HELLO)
    assert server.requests == []
    with genledger.attribution(tenant="reads"):
        await items(stream)
    assert telemetry.attributes["genledger.tenant.id"] == "asked"


async def test_a_stream_that_nobody_reads_is_no_call(server: Server, version_2: Any, telemetry: Telemetry) -> None:
    server.will(ROW.streamed())
    stream = version_2.chat_stream(model=MODEL, messages=HELLO)
    await now(stream.aclose() if hasattr(stream, "aclose") else stream.close())
    assert server.requests == []
    assert telemetry.spans == ()


async def test_a_stream_read_through_the_raw_client_is_priced(
    server: Server, version_2: Any, telemetry: Telemetry, asynchronous: bool
) -> None:
    server.will(ROW.streamed())
    opened = version_2.with_raw_response.chat_stream(model=MODEL, messages=HELLO)
    if asynchronous:
        async with opened as response:
            await items(response.data)
    else:
        with opened as response:
            await items(response.data)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)


async def test_typed_messages_are_read_as_they_are_sent(server: Server, version_2: Any, capturing: Telemetry) -> None:
    server.will(WHOLE)
    await now(version_2.chat(model=MODEL, messages=[cohere.UserChatMessageV2(content=PROMPT)]))
    (asked,) = json.loads(capturing.attributes["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}


async def test_budgets_reserve_the_text_of_typed_messages(server: Server, version_2: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nusd=0.01\nper="day"\n')
    server.will(WHOLE)
    with instrumented(libraries=["cohere"], budgets=str(rules), budget_store="memory:"):
        long = cohere.UserChatMessageV2(content="word " * 20_000)  # more than 0.01 USD
        with pytest.raises(BudgetExceeded):
            await now(version_2.chat(model=MODEL, messages=[long], max_tokens=10))
        assert server.requests == []
        await now(version_2.chat(model=MODEL, messages=[cohere.UserChatMessageV2(content=PROMPT)], max_tokens=10))
        assert len(server.requests) == 1


async def test_tools_and_thoughts_of_a_stream_are_read(server: Server, version_2: Any, capturing: Telemetry) -> None:
    def delta(kind: str, **message: Any) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": message}}

    function = {"name": "weather", "arguments": ""}
    server.will(
        Reply(
            200,
            "text/event-stream",
            sse(
                {"type": "message-start", "id": "m1", "delta": {"message": {"role": "assistant"}}},
                delta("content-delta", content={"thinking": "Hm."}),
                delta("tool-plan-delta", tool_plan="I will look."),
                delta("tool-call-start", tool_calls={"id": "t1", "type": "function", "function": function}),
                delta("tool-call-delta", tool_calls={"function": {"arguments": '{"city":'}}),
                delta("tool-call-delta", tool_calls={"function": {"arguments": ' "Paris"}'}}),
                {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
                named=True,
            ),
        )
    )
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    await items(version_2.chat_stream(model=MODEL, messages=HELLO, tools=tools))
    attributes = capturing.attributes
    (answered,) = json.loads(attributes["gen_ai.output.messages"])
    assert answered["finish_reason"] == "tool_call"
    assert answered["parts"] == [
        {"type": "reasoning", "content": "I will look."},
        {"type": "reasoning", "content": "Hm."},
        {"type": "tool_call", "name": "weather", "arguments": {"city": "Paris"}, "id": "t1"},
    ]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [{"type": "function", "name": "weather"}]
    assert attributes["genledger.cost.amount"] == pytest.approx(ROW.cost)


async def test_fields_that_the_application_adds_count_and_are_degraded(
    server: Server, version_2: Any, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    degrade = f'degrade = {{ model = "{ROW.cheaper}", max_output_tokens = 50 }}'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(WHOLE)
    options = {"additional_body_parameters": {"max_tokens": 900, "priority": 3}}
    with instrumented(libraries=["cohere"], budgets=str(rules), budget_store="memory:") as telemetry:
        await now(version_2.chat(model=MODEL, messages=HELLO, temperature=0.5, request_options=options))
        (request,) = server.requests
        assert request.json == {
            "model": ROW.cheaper,
            "messages": HELLO,
            "temperature": 0.5,
            "max_tokens": 50,
            "priority": 3,
            "stream": False,
        }
        assert telemetry.attributes["gen_ai.request.max_tokens"] == 50
    assert options == {"additional_body_parameters": {"max_tokens": 900, "priority": 3}}


async def test_an_attempt_that_a_gateway_gave_up_on_is_counted(
    server: Server, version_2: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({"message": "no"}, 504, **{"retry-after-ms": "1"}), WHOLE)
    # The version of 2025-05 starts to count at two.
    await now(version_2.chat(model=MODEL, messages=HELLO, max_tokens=1000, request_options={"max_retries": 3}))
    attributes = telemetry.attributes
    assert attributes["genledger.attempts"] == len(server.requests) == 2
    assert attributes["genledger.retry.causes"] == ("504",)
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 500 + 1000


async def test_an_attempt_whose_answer_broke_off_is_counted(
    server: Server, version_2: Any, telemetry: Telemetry
) -> None:
    server.will(Reply(200, "application/json", (b'{"id": ',), breaks=True), WHOLE)
    options = {"max_retries": 1, "retry_remote_protocol_errors": True}
    await now(version_2.chat(model=MODEL, messages=HELLO, max_tokens=1000, request_options=options))
    attributes = telemetry.attributes
    assert attributes["genledger.attempts"] == len(server.requests) == 2
    assert attributes["genledger.retry.causes"] == ("connection",)
    assert attributes["gen_ai.usage.output_tokens"] == 500 + 1000


async def test_another_attempt_needs_a_reservation_of_its_own(server: Server, version_2: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="one"\nusd=0.015\nper="day"\n')  # 1000 tokens of output are 0.01 USD
    server.will(json_reply({"message": "no"}, 504, **{"retry-after-ms": "1"}), WHOLE)
    with instrumented(libraries=["cohere"], budgets=str(rules), budget_store="memory:") as telemetry:
        with pytest.raises(BudgetExceeded):
            await now(version_2.chat(model=MODEL, messages=HELLO, max_tokens=1000, request_options={"max_retries": 3}))
        assert len(server.requests) == 1
        assert telemetry.attributes["genledger.outcome"] == "blocked"


def test_a_client_of_bedrock_is_amazons_customer(telemetry: Telemetry) -> None:
    pytest.importorskip("boto3")
    client = cohere.BedrockClientV2(aws_region="us-east-1", aws_access_key="a", aws_secret_key="s", timeout=20)
    client._client_wrapper.httpx_client.httpx_client._transport = Unreachable()
    with pytest.raises(OSError, match="no network"):
        client.rerank(model="cohere.rerank-v3-5:0", query="q", documents=["d"])
    assert telemetry.attributes["gen_ai.provider.name"] == "aws.bedrock"


class Unreachable:
    """A transport that sends nothing."""

    def handle_request(self, request: Any) -> Any:
        raise OSError("no network")


async def test_a_job_that_embeds_is_priced_when_it_has_ended(
    server: Server, version_1: Any, telemetry: Telemetry
) -> None:
    """https://docs.cohere.com/reference/create-embed-job"""
    model = "embed-english-v3.0"
    job = {"job_id": "j1", "created_at": "2026-11-30T00:00:00Z", "input_dataset_id": "d", "truncate": "END"}
    done = {**job, "status": "complete", "model": model, "meta": {"billed_units": {"input_tokens": 1000}}}
    server.will(json_reply({"job_id": "j1"}), json_reply({**done, "status": "processing"}), json_reply(done))
    jobs = version_1.embed_jobs
    await now(jobs.create(model=model, dataset_id="d", input_type="search_document"))
    await now(jobs.get("j1"))
    await now(jobs.get("j1"))
    attributes = telemetry.attributes_of(f"embeddings {model}")
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.1e-6)
    assert [span.name for span in telemetry.spans].count("fetch_response") == 2


async def test_a_batch_is_priced_by_the_tokens_that_it_counts(
    server: Server, version_1: Any, telemetry: Telemetry
) -> None:
    if not hasattr(version_1, "batches"):
        pytest.skip("the version has no batches")
    batch = {"id": "b1", "name": "n", "input_dataset_id": "d", "model": MODEL, "status": "BATCH_STATUS_QUEUED"}
    counted = {"input_tokens": "1000", "output_tokens": "500", "status": "BATCH_STATUS_COMPLETED"}
    server.will(json_reply({"batch": batch}), json_reply({"batch": {**batch, **counted}}))
    await now(version_1.batches.create(request={"name": "n", "input_dataset_id": "d", "model": MODEL}))
    await now(version_1.batches.retrieve("b1"))
    attributes = telemetry.attributes_of(f"batch {MODEL}")
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] > 0


@pytest.mark.parametrize(("method", "operation"), [("classify", "moderation"), ("summarize", "text_completion")])
async def test_classifications_and_summaries_are_calls(
    server: Server, version_1: Any, telemetry: Telemetry, method: str, operation: str
) -> None:
    """https://docs.cohere.com/reference/classify"""
    units = {"classify": {"classifications": 2}, "summarize": {"input_tokens": 10, "output_tokens": 5}}[method]
    answer = {"id": "a1", "classifications": [], "summary": "Paris.", "meta": {"billed_units": units}}
    server.will(json_reply(answer))
    given: dict[str, Any] = {"classify": {"inputs": ["a", "b"]}, "summarize": {"text": "Paris it is."}}[method]
    await now(getattr(version_1, method)(model=MODEL, **given))
    assert telemetry.span.name == f"{operation} {MODEL}"
    if method == "classify":
        assert telemetry.attributes["genledger.usage.classification"] == 2
    else:
        assert telemetry.attributes["gen_ai.usage.output_tokens"] == 5
