"""AI21's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.ai21 import MODEL, ask, make
from tests.contract.rows.openai_chat import chunks, whole
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger_semconv.checker import assert_clean

from ..provider import items, now
from ..telemetry import instrumented
from .entries import Entries

ai21: Any = pytest.importorskip("ai21")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_azure_asks_another_provider(server: Server, asynchronous: bool, stream: bool) -> None:
    server.will(Reply(200, "text/event-stream", chunks(MODEL)) if stream else whole(MODEL))
    kind = ai21.AsyncAI21AzureClient if asynchronous else ai21.AI21AzureClient
    with instrumented(libraries=["ai21"]) as telemetry:
        answer = await now(ask(kind(base_url=server.url, api_key="k"), stream=stream))
        if stream:
            await items(answer)
        assert telemetry.attributes["gen_ai.provider.name"] == "azure.ai.inference"
        assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


async def test_what_is_not_inference_is_no_call(server: Server, asynchronous: bool) -> None:
    server.will(json_reply([]))
    with instrumented(libraries=["ai21"]) as telemetry:
        await now(make(server.url, asynchronous, 0).library.files.list())
        assert not telemetry.spans
        assert not telemetry.complaints.other


RUN = {"id": "run1", "status": "in_progress", "result": None}


async def test_a_run_of_maestro_is_one_call_from_its_creation_to_its_end(server: Server, asynchronous: bool) -> None:
    """https://docs.ai21.com/reference/maestro-run"""
    done = {**RUN, "status": "completed", "result": "Paris."}
    server.will(json_reply(RUN), json_reply(RUN), json_reply(done))
    client = make(server.url, asynchronous, 1)
    with instrumented(libraries=["ai21"], capture_content="span") as telemetry:
        runs = client.beta.maestro.runs
        given = {"input": "Which capital?", "models": ["jamba-mini"]}
        run = await now(runs.create_and_poll(**given, poll_interval_sec=0.001, poll_timeout_sec=30))
        assert run.result == "Paris."
        attributes = telemetry.attributes_of("chat jamba-mini")
        assert attributes["gen_ai.response.id"] == "run1"
        assert attributes["genledger.outcome"] == "success"
        assert attributes["genledger.cost.unpriced"] == "no_usage"
        assert "Which capital?" in attributes["gen_ai.input.messages"]
        assert "Paris." in attributes["gen_ai.output.messages"]
        assert [span.name for span in telemetry.spans].count("fetch_response") == 2
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans


async def test_a_run_of_maestro_that_fails_is_a_failed_call(server: Server, asynchronous: bool) -> None:
    server.will(json_reply({**RUN, "status": "failed", "error": {"message": "No."}}))
    with instrumented(libraries=["ai21"]) as telemetry:
        await now(make(server.url, asynchronous, 1).beta.maestro.runs.create(input="Which capital?"))
        assert telemetry.attributes["error.type"] == "failed"
        assert "genledger.cost.unpriced" not in telemetry.attributes


async def test_an_answer_from_the_library_is_a_chat(server: Server, asynchronous: bool) -> None:
    choices = [{"role": "assistant", "content": "Paris."}]
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    answer = {"id": "r1", "choices": choices, "usage": usage, "search_queries": None, "sources": []}
    server.will(json_reply({**answer, "context_retrieved": False, "answer_in_context": True}))
    with instrumented(libraries=["ai21"]) as telemetry:
        client, message = make(server.url, asynchronous, 1), ai21.models.chat.ChatMessage(role="user", content="What?")
        await now(client.beta.conversational_rag.create(messages=[message]))
        assert telemetry.attributes["gen_ai.operation.name"] == "chat"
        assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500


async def test_a_batch_is_paid_for_when_its_results_are_read(
    server: Server, asynchronous: bool, tmp_path: Path
) -> None:
    """https://docs.ai21.com/reference/batch-api"""
    batch = {"id": "b1", "status": "PENDING", "endpoint": "/v1/chat/completions", "created_at": 1}
    made = json_reply({**batch, "request_counts": {"total": 1, "completed": 0, "failed": 0}})
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    body = {"id": "c1", "object": "chat.completion", "model": MODEL, "choices": [], "usage": usage}
    line = {"custom_id": "a", "response": {"status_code": 200, "body": body}}
    server.will(made, Reply(200, "application/jsonl", (json.dumps(line).encode(),)))
    (tmp_path / "a.jsonl").write_text("{}")
    client, entries = make(server.url, asynchronous, 1), Entries()
    with instrumented(libraries=["ai21"], destinations=[entries]):
        with genledger.attribution(tenant="acme"):
            await now(client.beta.batches.create(file=str(tmp_path / "a.jsonl"), endpoint="/v1/chat/completions"))
        await now(client.beta.batches.get_results("b1"))
        (result,) = entries.results
    assert result.attribution.tenant == "acme"
    assert result.usage is not None
    assert result.usage.output_tokens == 500
