"""Together's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.together import make
from tests.contract.server import Server, json_reply

from genledger_semconv.checker import assert_clean

from ..provider import now
from ..telemetry import Telemetry, instrumented

pytest.importorskip("together")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["together"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool) -> Any:
    return make(server.url, asynchronous, 0)


async def test_embeddings_are_one_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    model = "intfloat/multilingual-e5-large-instruct"
    vectors = [{"object": "embedding", "embedding": [0.1], "index": 0}]
    server.will(json_reply({"object": "list", "data": vectors, "model": model}))
    await now(client.embeddings.create(model=model, input="hello"))
    assert telemetry.span.name == f"embeddings {model}"
    assert telemetry.attributes["gen_ai.provider.name"] == "together"


async def test_a_rerank_counts_tokens(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.together.ai/reference/rerank-1"""
    model = "Salesforce/Llama-Rank-v1"
    results = [{"index": 0, "relevance_score": 0.9, "document": {"text": "Paris"}}]
    usage = {"prompt_tokens": 150, "completion_tokens": 0, "total_tokens": 150}
    server.will(json_reply({"object": "rerank", "id": "r1", "model": model, "results": results, "usage": usage}))
    await now(client.rerank.create(model=model, query="capital", documents=["Paris"], top_n=1))
    assert telemetry.span.name == f"rerank {model}"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 150


async def test_what_is_not_inference_is_no_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"data": []}))
    await now(client.files.list())
    assert not telemetry.spans
