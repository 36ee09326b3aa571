"""Perplexity's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.perplexity import make
from tests.contract.server import Reply, Server, json_reply, sse

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("perplexity")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["perplexityai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


FOUND = {"id": "s1", "results": [{"title": "Paris", "url": "https://example.com", "snippet": "The capital."}]}


@pytest.mark.parametrize(
    ("asked", "model", "cost"), [({}, "search", 0.005), ({"extra_body": {"search_type": "fast"}}, "search-fast", 0.001)]
)
async def test_a_search_is_a_retrieval_billed_by_the_request(
    server: Server, client: Any, telemetry: Telemetry, asked: Any, model: str, cost: float
) -> None:
    """https://docs.perplexity.ai/docs/search/fast-search"""
    server.will(json_reply(FOUND))
    await now(client.search.create(query="capital of France", max_results=3, **asked))
    assert telemetry.span.name == "retrieval"
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.model"] == model
    assert attributes["gen_ai.retrieval.top_k"] == 3
    assert attributes["genledger.retrieval.results"] == 1
    assert attributes["genledger.usage.request"] == 1
    assert attributes["genledger.cost.amount"] == pytest.approx(cost)
    assert "gen_ai.retrieval.query.text" not in attributes


async def test_a_budget_refuses_a_search(server: Server, client: Any, tmp_path: Path) -> None:
    server.will(json_reply(FOUND))
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="none"\nusd=0.004\nper="day"\n')
    with instrumented(libraries=["perplexityai"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(genledger.BudgetExceeded):
            await now(client.search.create(query="capital of France"))
        assert not server.requests


@pytest.mark.parametrize("contextualized", [False, True])
async def test_embeddings_cost_what_they_report(
    server: Server, client: Any, telemetry: Telemetry, contextualized: bool
) -> None:
    """https://docs.perplexity.ai/api-reference/embeddings-post"""
    model = "pplx-embed-context-v1-0.6b" if contextualized else "pplx-embed-v1-0.6b"
    cost = {"currency": "USD", "input_cost": 4e-6, "total_cost": 4e-6}
    usage = {"prompt_tokens": 1000, "total_tokens": 1000, "cost": cost}
    server.will(json_reply({"object": "list", "data": [], "model": model, "usage": usage}))
    if contextualized:
        await now(client.contextualized_embeddings.create(model=model, input=[["one", "two"]]))
    else:
        await now(client.embeddings.create(model=model, input="hello", dimensions=256))
        assert telemetry.attributes["gen_ai.embeddings.dimension.count"] == 256
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(4e-6)
    assert telemetry.attributes["genledger.cost.source"] == "provider"


def _response(status: str = "completed") -> dict[str, Any]:
    cost = {"currency": "USD", "input_cost": 0.0025, "output_cost": 0.005, "tool_calls_cost": 0.0025}
    usage = {
        "input_tokens": 1000,
        "output_tokens": 500,
        "total_tokens": 1500,
        "input_tokens_details": {"cache_read_input_tokens": 100},
        "tool_calls_details": {"search_web": {"invocation": 1}},
        "cost": {**cost, "total_cost": 0.01},
    }
    text = {"type": "output_text", "text": "Paris.", "annotations": []}
    message = {"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1790000000,
        "model": "openai/gpt-5.2",
        "status": status,
        "output": [message] if status == "completed" else [],
        "usage": usage if status == "completed" else None,
    }


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_costs_what_it_reports(
    server: Server, client: Any, telemetry: Telemetry, stream: bool
) -> None:
    """https://docs.perplexity.ai/api-reference/responses-post"""
    done = {"type": "response.completed", "sequence_number": 1, "response": _response()}
    server.will(Reply(200, "text/event-stream", sse(done)) if stream else json_reply(_response()))
    answer = await now(client.responses.create(preset="pro-search", input="What is the capital?", stream=stream))
    if stream:
        await items(answer)
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.response.model"] == "openai/gpt-5.2"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 100
    assert attributes["genledger.usage.web_search"] == 1
    assert attributes["genledger.cost.amount"] == pytest.approx(0.01)


async def test_a_response_in_the_background_is_paid_for_when_it_is_fetched(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply(_response("queued")), json_reply(_response()))
    created = await now(client.responses.create(model="openai/gpt-5.2", input="What?", extra_body={"background": True}))
    await now(client.get(f"/v1/responses/{created.id}", cast_to=object))
    (created_span, fetched_span) = sorted(telemetry.spans, key=lambda span: span.start_time or 0)
    assert (created_span.attributes or {})["genledger.cost.amount"] == pytest.approx(0.01)
    assert (fetched_span.attributes or {})["gen_ai.response.id"] == "resp_1"
    assert "genledger.cost.amount" not in (fetched_span.attributes or {})


CHAT_JOB = {"id": "job1", "created_at": 1790000000, "model": "sonar-deep-research"}


def _completion() -> dict[str, Any]:
    cost = {"input_tokens_cost": 0.002, "output_tokens_cost": 0.004, "total_cost": 0.02}
    message = {"role": "assistant", "content": "Paris."}
    return {
        "id": "c1",
        "created": 1790000000,
        "model": "sonar-deep-research",
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, "delta": message}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500, "cost": cost},
    }


async def test_a_chat_in_the_background_is_paid_for_when_it_is_fetched(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    """https://docs.perplexity.ai/api-reference/async-chat-completions-post"""
    server.will(
        json_reply({**CHAT_JOB, "status": "CREATED"}),
        json_reply({**CHAT_JOB, "status": "IN_PROGRESS"}),
        json_reply({**CHAT_JOB, "status": "COMPLETED", "response": _completion()}),
    )
    jobs, request = client.async_.chat.completions, {"model": "sonar-deep-research", "max_tokens": 900}
    await now(jobs.create(request={**request, "messages": [{"role": "user", "content": "What?"}]}))
    assert not telemetry.spans
    await now(jobs.get("job1"))
    assert (await now(jobs.get("job1"))).response.id == "c1"
    chat = telemetry.attributes_of("chat sonar-deep-research")
    assert chat["gen_ai.request.max_tokens"] == 900
    assert chat["gen_ai.response.id"] == "c1"
    assert chat["gen_ai.response.finish_reasons"] == ("stop",)
    assert chat["gen_ai.usage.output_tokens"] == 500
    assert chat["genledger.cost.amount"] == pytest.approx(0.02)
    fetched = [dict(span.attributes or {}) for span in telemetry.spans if span.name == "fetch_response"]
    assert [one["gen_ai.response.status"] for one in fetched] == ["in_progress", "completed"]
    assert {one["gen_ai.response.id"] for one in fetched} == {"job1"}
    assert not any("genledger.cost.amount" in one for one in fetched)


async def test_a_chat_in_the_background_that_fails_costs_nothing(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({**CHAT_JOB, "status": "FAILED", "error_message": "No."}))
    messages = [{"role": "user", "content": "What?"}]
    await now(client.async_.chat.completions.create(request={"model": "sonar", "messages": messages}))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["error.type"] == "failed"
    assert "genledger.cost.unpriced" not in telemetry.attributes


async def test_a_budget_degrades_a_chat_in_the_background(server: Server, client: Any, tmp_path: Path) -> None:
    server.will(json_reply({**CHAT_JOB, "status": "CREATED"}))
    rules = tmp_path / "rules.toml"
    degrade = 'at_limit="degrade"\ndegrade={ model = "sonar", max_output_tokens = 16 }'
    rules.write_text(f'[[budget]]\nname="day"\nusd=0.0001\nper="day"\n{degrade}\n')
    with instrumented(libraries=["perplexityai"], budgets=str(rules), budget_store="memory:"):
        request = {"model": "sonar-pro", "messages": [{"role": "user", "content": "What?"}]}
        await now(client.async_.chat.completions.create(request=request))
    (sent,) = server.requests
    assert sent.json["request"]["model"] == "sonar"
    assert sent.json["request"]["max_tokens"] == 16
    assert request["model"] == "sonar-pro"
