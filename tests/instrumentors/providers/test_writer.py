"""Writer's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.writer import MODEL, make
from tests.contract.server import Reply, Server, json_reply, sse

from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("writerai")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["writer-sdk"], capture_content="both") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


async def test_a_streamed_completion_is_estimated_from_its_pieces(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    """https://dev.writer.com/api-reference/completion-api/text-generation"""
    server.will(Reply(200, "text/event-stream", sse({"value": "Paris "}, {"value": "it is."})))
    await items(await now(client.completions.create(model=MODEL, prompt="The capital?", stream=True)))
    assert telemetry.span.name == f"text_completion {MODEL}"
    attributes = telemetry.attributes
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0
    assert attributes["genledger.outcome"] == "success"
    assert "Paris it is." in attributes["gen_ai.output.messages"]


async def test_what_says_nothing_of_its_usage_is_an_unpriced_call(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    asks = (
        (client.applications.generate_content, {"application_id": "a1", "inputs": []}, {"suggestion": "Said."}),
        (client.graphs.question, {"graph_ids": ["g1"], "question": "Why?"}, {"answer": "Said.", "sources": []}),
        (
            client.vision.analyze,
            {"model": "palmyra-vision", "prompt": "What?", "variables": []},
            {"data": "Said."},
        ),
    )
    for ask, given, answer in asks:
        telemetry.clear()
        server.will(json_reply(answer))
        await now(ask(**given))
        attributes = telemetry.attributes
        assert attributes["gen_ai.operation.name"] == "chat"
        assert attributes["genledger.cost.unpriced"] == "no_usage"
        assert "Said." in attributes["gen_ai.output.messages"]


async def test_what_is_not_inference_is_no_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"data": []}))
    await now(client.models.list())
    await now(client.get("/v1/applications/a1/jobs", cast_to=object))
    assert not telemetry.spans


async def test_a_job_of_an_application_is_one_call_from_its_creation_to_its_end(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    """https://dev.writer.com/api-reference/application-api/jobs"""
    job = {"id": "j1", "application_id": "app1", "created_at": "2026-11-30T00:00:00Z", "status": "in_progress"}
    done = {**job, "status": "completed", "data": {"title": "", "suggestion": "Paris."}}
    server.will(json_reply(job), json_reply(job), json_reply(done))
    jobs = client.applications.jobs
    await now(jobs.create("app1", inputs=[{"id": "q", "value": ["Which capital?"]}]))
    await now(jobs.retrieve("j1"))
    await now(jobs.retrieve("j1"))
    attributes = telemetry.attributes_of("chat")
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    assert "Paris." in attributes["gen_ai.output.messages"]
    assert [span.name for span in telemetry.spans].count("fetch_response") == 2


async def test_every_billed_tool_is_a_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    tools = client.tools
    calls = {"parse_pdf": "ocr", "web_search": "retrieval", "ai_detect": "chat", "context_aware_splitting": "chat"}
    given: dict[str, dict[str, Any]] = {
        "parse_pdf": {"file_id": "f1", "format": "text"},
        "web_search": {"query": "capital"},
        "ai_detect": {"input": "Was it a machine?"},
        "context_aware_splitting": {"strategy": "llm_split", "text": "Paris."},
    }
    for name, operation in calls.items():
        if hasattr(tools, name):
            telemetry.clear()
            answer = {"content": "Paris.", "query": "q", "sources": [], "label": "fake", "score": 0.1, "chunks": []}
            server.will(json_reply(answer))
            await now(getattr(tools, name)(**given[name]))
            assert telemetry.span.name == operation
            assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"
