"""The client of Z.ai, over real sockets: what its chat row of the contract suite does not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.openai_chat import PROMPT, whole
from tests.contract.rows.zai import MODEL, make
from tests.contract.server import Server, json_reply

from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

pytest.importorskip("zai")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["zai-sdk"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans


@pytest.fixture
def client(server: Server) -> Any:
    return make(server.url, False, 0)


def test_the_client_for_china_asks_another_provider(server: Server, telemetry: Telemetry) -> None:
    import zai

    server.will(whole(MODEL))
    client = zai.ZhipuAiClient(base_url=server.url, api_key="k")
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": PROMPT}])
    assert telemetry.attributes["gen_ai.provider.name"] == "zhipuai"


def test_a_web_search_within_a_chat_is_billed(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.z.ai/guides/tools/web-search"""
    server.will(whole(MODEL, web_search=[{"title": "Paris", "link": "https://example.com"}]))
    client.chat.completions.create(model=MODEL, messages=[], tools=[{"type": "web_search", "web_search": {}}])
    assert telemetry.attributes["genledger.usage.web_search"] == 1
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.01 + 1000 * 0.6e-6 + 500 * 2.2e-6)


def test_a_search_is_a_retrieval_billed_by_the_request(server: Server, client: Any, telemetry: Telemetry) -> None:
    """https://docs.z.ai/api-reference/tools/web-search"""
    server.will(json_reply({"id": "s1", "created": 1, "search_result": [{"title": "Paris"}], "search_intent": None}))
    client.web_search.web_search(search_engine="search-prime", search_query="capital", count=3)
    assert telemetry.span.name == "retrieval"
    assert telemetry.attributes["gen_ai.retrieval.top_k"] == 3
    assert telemetry.attributes["genledger.retrieval.results"] == 1
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(0.01)


def test_embeddings_and_images_are_calls(server: Server, client: Any, telemetry: Telemetry) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}
    server.will(json_reply({"model": "embedding-3", "object": "list", "data": [], "usage": usage}))
    client.embeddings.create(model="embedding-3", input="hello")
    assert telemetry.span.name == "embeddings embedding-3"
    telemetry.clear()
    server.will(json_reply({"created": 1, "data": [{"url": "https://example.com/1.png"}]}))
    client.images.generations(model="cogview-4", prompt="Paris")
    assert telemetry.attributes["genledger.usage.image"] == 1
