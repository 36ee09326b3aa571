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
    await now(client.post("/v1/applications/a1/jobs", cast_to=object, body={}))
    assert not telemetry.spans
