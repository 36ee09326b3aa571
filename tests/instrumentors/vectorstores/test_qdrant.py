"""Qdrant beyond the contract of stores: every method in memory, and servers by their address."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.server import Server, json_reply, serving
from tests.instrumentors.provider import now
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

from genledger_semconv.checker import assert_clean

qdrant_client = pytest.importorskip("qdrant_client")
models = qdrant_client.models


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["qdrant-client"], capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest) -> Any:
    kind = qdrant_client.QdrantClient if request.param == "sync" else qdrant_client.AsyncQdrantClient
    client = kind(":memory:")
    await now(client.create_collection("papers", models.VectorParams(size=2, distance=models.Distance.EUCLID)))
    points = [models.PointStruct(id=n, vector=[float(n), 0.0], payload={"kind": n % 2}) for n in range(4)]
    await now(client.upsert("papers", points))
    return client


async def test_every_method_is_one_span(client: Any, telemetry: Telemetry) -> None:
    await now(client.upsert("papers", models.Batch(ids=[7, 8], vectors=[[1.0, 1.0], [2.0, 2.0]])))
    records, _ = await now(client.scroll("papers", limit=3))
    found = await now(client.retrieve("papers", [1, 2, 99]))
    await now(client.count("papers"))
    await now(client.set_payload("papers", {"seen": True}, [1, 2]))
    await now(client.delete("papers", [1]))
    await now(client.delete("papers", models.PointIdsList(points=[2, 3])))
    await now(client.upload_points("papers", (models.PointStruct(id=n, vector=[1.0, 0.0]) for n in (20, 21))))
    assert (len(records), len(found)) == (3, 2)
    assert [
        (span.name, said.get("db.operation.batch.size"), said.get("db.response.returned_rows"))
        for span in telemetry.spans
        if (said := attributes_of(span))
    ] == [
        ("upsert papers", 2, None),
        ("scroll papers", None, 3),
        ("retrieve papers", None, 2),
        ("count papers", None, None),
        ("set_payload papers", 2, None),
        ("delete papers", None, None),
        ("delete papers", 2, None),
        ("upload_points papers", None, None),
    ]


async def test_several_searches_at_once_are_one_span_with_all_their_results(client: Any, telemetry: Telemetry) -> None:
    only = models.Filter(must=[models.FieldCondition(key="kind", match=models.MatchValue(value=1))])
    near = models.QueryRequest(query=[0.0, 0.0], limit=3)
    await now(client.query_batch_points("papers", [near, models.QueryRequest(query=[0.0, 0.0], limit=2, filter=only)]))
    said = telemetry.attributes
    assert said["db.operation.batch.size"] == 2
    assert said["gen_ai.retrieval.top_k"] == 3
    assert said["genledger.retrieval.results"] == 5
    assert said["genledger.retrieval.filtered"] is True
    scores = [said[f"genledger.retrieval.score.{name}"] for name in ("min", "max", "mean")]
    assert scores == [0.0, 3.0, pytest.approx((0 + 1 + 2 + 1 + 3) / 5)]


async def test_results_in_groups_are_counted_one_by_one(client: Any, telemetry: Telemetry) -> None:
    await now(client.query_points_groups("papers", "kind", [0.0, 0.0], limit=2, group_size=5))
    said = telemetry.attributes
    assert said["gen_ai.retrieval.top_k"] == 10
    assert said["genledger.retrieval.results"] == 4


async def test_a_search_that_does_not_say_how_many_asks_for_ten(client: Any, telemetry: Telemetry) -> None:
    await now(client.query_points("papers", [0.0, 0.0]))
    assert telemetry.attributes["gen_ai.retrieval.top_k"] == 10


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


HIT = {"id": 3, "version": 0, "score": 0.5, "payload": {"text": "It is Paris."}}


@pytest.mark.parametrize("given", ["url", "location", "host and port"])
async def test_a_server_is_named_and_texts_that_it_embeds_are_the_query(
    server: Server, telemetry: Telemetry, given: str
) -> None:
    server.will(json_reply({"result": {"points": [HIT]}, "status": "ok", "time": 0.1}))
    port = int(server.url.rpartition(":")[2])
    where: dict[str, Any] = {"host": "127.0.0.1", "port": port} if " " in given else {given: server.url}
    client = qdrant_client.QdrantClient(**where, check_compatibility=False, cloud_inference=True)
    ask = models.Document(text="Which capital?", model="some/model")
    client.query_points("papers", models.FusionQuery(fusion=models.Fusion.RRF), prefetch=[models.Prefetch(query=ask)])
    said = telemetry.attributes
    assert (said["server.address"], said["server.port"]) == ("127.0.0.1", port)
    assert said["gen_ai.retrieval.query.text"] == "Which capital?"
    assert said["gen_ai.retrieval.documents"] == '[{"id":"3","score":0.5,"content":{"text":"It is Paris."}}]'
