"""Voyage's client, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.server import Reply, Server, json_reply

import genledger
from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..provider import now
from ..telemetry import Telemetry, instrumented

voyageai = pytest.importorskip("voyageai")

MODEL = "voyage-3.5"
PRICE = 1000 * 0.06e-6
"""USD of 1000 tokens. https://docs.voyageai.com/docs/pricing"""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["voyageai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["voyageai"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


@pytest.fixture
def client(server: Server, asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client that sends a request up to three times, without a pause."""
    from tenacity import wait_none

    kind = voyageai.AsyncClient if asynchronous else voyageai.Client
    if hasattr(voyageai, "api_base"):  # 0.3.2
        monkeypatch.setattr(voyageai, "api_base", server.url)
        client = kind("k", max_retries=3, timeout=20)
        client.retry_controller.wait = wait_none()
        return client
    client = kind("k", max_retries=3, timeout=20, base_url=server.url)
    controller = client._make_retry_controller
    monkeypatch.setattr(client, "_make_retry_controller", lambda: controller().copy(wait=wait_none()))
    return client


def vectors(**usage: int) -> Reply:
    data = [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}]
    return json_reply({"object": "list", "data": data, "model": MODEL, "usage": usage or {"total_tokens": 1000}})


REFUSED = json_reply({"detail": "Slow down."}, 429)


async def test_embeddings_are_priced_by_their_tokens(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(vectors())
    with genledger.attribution(tenant="acme"):
        found = await now(client.embed(["a text"], model=MODEL, output_dimension=256))
    assert found.embeddings == [[0.1, 0.2]]
    attributes = telemetry.attributes
    assert telemetry.span.name == f"embeddings {MODEL}"
    assert attributes["gen_ai.provider.name"] == "voyageai"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    assert attributes["gen_ai.embeddings.dimension.count"] == 256
    assert attributes["genledger.tenant.id"] == "acme"
    assert attributes["server.address"] == "127.0.0.1"


async def test_a_model_that_is_not_named_is_the_default(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(vectors())
    with pytest.warns(UserWarning, match="not specified"):
        await now(client.embed(["a text"]))
    (request,) = server.requests
    assert telemetry.attributes["gen_ai.request.model"] == request.json["model"]


async def test_text_is_billed_by_tokens_and_images_by_pixels(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(vectors(text_tokens=1000, image_pixels=2_000_000, video_pixels=0, total_tokens=4572))
    await now(client.multimodal_embed([["a banana"]], model="voyage-multimodal-3"))
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.usage.pixel"] == 2_000_000
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.12e-6 + 0.0012)


async def test_contextualized_embeddings_are_embeddings(server: Server, client: Any, telemetry: Telemetry) -> None:
    if not hasattr(client, "contextualized_embed"):
        pytest.skip("not in this version")
    one = {"object": "list", "data": [{"embedding": [0.1], "index": 0}], "index": 0}
    usage = {"total_tokens": 1000}
    server.will(json_reply({"object": "list", "data": [one], "model": "voyage-context-3", "usage": usage}))
    await now(client.contextualized_embed([["a", "b"]], model="voyage-context-3", input_type="document"))
    assert telemetry.span.name == "embeddings voyage-context-3"
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.18e-6)


async def test_a_rerank_is_priced_by_its_tokens(server: Server, client: Any, capturing: Telemetry) -> None:
    data = [{"relevance_score": 0.9, "index": 1}]
    server.will(json_reply({"object": "list", "data": data, "model": "rerank-2", "usage": {"total_tokens": 1000}}))
    await now(client.rerank("Where?", ["London", "Paris"], model="rerank-2", top_k=1))
    attributes = capturing.attributes
    assert capturing.span.name == "rerank rerank-2"
    assert attributes["gen_ai.retrieval.top_k"] == 1
    assert attributes["gen_ai.retrieval.query.text"] == "Where?"
    assert attributes["genledger.cost.amount"] == pytest.approx(1000 * 0.05e-6)


async def test_a_request_that_is_repeated_is_one_call(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(REFUSED, REFUSED, vectors())
    await now(client.embed(["a text"], model=MODEL))
    assert len(server.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(PRICE)
    assert telemetry.attributes["genledger.outcome"] == "success"


@pytest.mark.parametrize(
    ("status", "outcome", "kind"), [(429, "rate_limited", "RateLimitError"), (400, "error", "InvalidRequestError")]
)
async def test_a_refused_request_costs_nothing(
    server: Server, client: Any, telemetry: Telemetry, status: int, outcome: str, kind: str
) -> None:
    server.will(json_reply({"detail": "No."}, status))
    with pytest.raises(getattr(voyageai.error, kind), match="No"):
        await now(client.embed(["a text"], model=MODEL))
    assert telemetry.attributes["genledger.outcome"] == outcome
    assert "genledger.cost.amount" not in telemetry.attributes
    assert telemetry.attributes.get("genledger.attempts") == (3 if status == 429 else None)


async def test_an_answer_of_unknown_shape_raises_as_it_does_without(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({}))
    with pytest.raises(AttributeError):
        await now(client.embed(["a text"], model=MODEL))
    assert "genledger.cost.amount" not in telemetry.attributes


async def test_budgets_refuse_and_degrade(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    limit = '[[budget]]\nname="small"\nusd=0.00000001\nper="day"\n'
    server.will(vectors())
    rules.write_text(limit)
    with instrumented(libraries=["voyageai"], budgets=str(rules), budget_store="memory:"):
        with pytest.raises(BudgetExceeded):
            await now(client.embed(["a text"], model="voyage-3-large"))
        assert server.requests == []
    rules.write_text(limit + 'at_limit="degrade"\ndegrade = { model = "voyage-3.5-lite" }\n')
    with instrumented(libraries=["voyageai"], budgets=str(rules), budget_store="memory:") as telemetry:
        await now(client.embed(["a text"], model="voyage-3-large"))
        assert telemetry.attributes["gen_ai.request.model"] == "voyage-3.5-lite"
    assert json.loads(server.requests[0].body)["model"] == "voyage-3.5-lite"


async def test_a_model_in_this_process_is_no_call(client: Any, asynchronous: bool, telemetry: Telemetry) -> None:
    local = pytest.importorskip("voyageai.local.helpers")
    (model, *_) = local.LOCAL_MODELS
    with pytest.raises(Exception, match=r"^"):  # what it needs is not installed
        await now(client.embed([], model=model))
    await asyncio.sleep(0)
    assert telemetry.spans == ()
