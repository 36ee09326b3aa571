"""Alibaba's client, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

import json
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
