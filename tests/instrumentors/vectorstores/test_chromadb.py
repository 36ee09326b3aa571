"""Chroma, embedded and over HTTP, synchronous and not: one span per call, retrievals described, embeddings inside."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromadb
import openai
import pytest
from chromadb.api.models.AsyncCollection import AsyncCollection
from chromadb.config import Settings
from opentelemetry.trace import SpanKind, StatusCode

import genledger
from genledger_semconv.checker import assert_clean

from .. import openai_format as wire
from ..provider import Provider, answer, now
from ..telemetry import Telemetry, instrumented

VECTORS: Any = [[0.0, 0.0], [1.0, 0.0], [0.0, 3.0]]
IDS = ["a", "b", "c"]
TEXTS = ["first", "second", "third"]


def quiet() -> Settings:
    """Settings for one client: it writes into them."""
    return Settings(anonymized_telemetry=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Chroma server on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = tmp_path_factory.mktemp("chroma")
    chroma = str(Path(sys.executable).with_name("chroma"))
    process = subprocess.Popen(
        [chroma, "run", "--path", str(directory), "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/heartbeat", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


class Store:
    """A client of one kind, and what it says about where it is."""

    def __init__(self, client: Any, port: int | None) -> None:
        self.client = client
        self.port = port

    async def collection(self, name: str = "papers", **options: Any) -> Any:
        """A new collection that embeds nothing unless told how."""
        options = {"embedding_function": None} | options
        return await now(self.client.create_collection(name, **options))


@pytest.fixture(params=["ephemeral", "persistent", "http", "async http"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    kind: str = request.param
    port = request.getfixturevalue("server") if "http" in kind else None
    if kind == "ephemeral":
        client: Any = chromadb.EphemeralClient(quiet())
    elif kind == "persistent":
        client = chromadb.PersistentClient(str(tmp_path), quiet())
    elif kind == "http":
        client = chromadb.HttpClient("127.0.0.1", port or 0, settings=quiet())
    else:
        client = await chromadb.AsyncHttpClient("127.0.0.1", port or 0, settings=quiet())
    for collection in await now(client.list_collections()):
        await now(client.delete_collection(collection.name))
    return Store(client, port)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["chromadb", "openai"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def place(store: Store, operation: str, collection: str = "papers") -> dict[str, Any]:
    """What every span says."""
    where = {} if store.port is None else {"server.address": "127.0.0.1", "server.port": store.port}
    return {
        "db.system.name": "chroma",
        "db.operation.name": operation,
        "db.collection.name": collection,
        "db.namespace": "default_database",
        "genledger.outcome": "success",
        **where,
    }


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})


async def filled(store: Store, telemetry: Telemetry) -> Any:
    collection = await store.collection()
    await now(collection.add(ids=IDS, embeddings=VECTORS, documents=TEXTS))
    telemetry.clear()
    return collection


async def test_every_call_is_one_span_with_the_attributes_of_databases(store: Store, telemetry: Telemetry) -> None:
    collection = await store.collection()
    await now(collection.add(ids=IDS, embeddings=VECTORS, documents=TEXTS))
    await now(collection.add("d", [[5.0, 5.0]]))
    await now(collection.upsert(IDS[:2], embeddings=VECTORS[:2]))
    await now(collection.update(ids=["a", "b"], metadatas=[{"n": 1}, {"n": 2}]))
    got = await now(collection.get(["a", "b"]))
    peeked = await now(collection.peek(limit=3))
    counted = await now(collection.count())
    await now(collection.delete(ids=["d"]))
    assert (got["ids"], len(peeked["ids"]), counted) == (["a", "b"], 3, 4)
    expected: list[tuple[str, dict[str, Any]]] = [
        ("add papers", place(store, "add") | {"db.operation.batch.size": 3}),
        ("add papers", place(store, "add")),
        ("upsert papers", place(store, "upsert") | {"db.operation.batch.size": 2}),
        ("update papers", place(store, "update") | {"db.operation.batch.size": 2}),
        ("get papers", place(store, "get") | {"db.response.returned_rows": 2}),
        ("peek papers", place(store, "peek") | {"db.response.returned_rows": 3}),
        ("count papers", place(store, "count")),
        ("delete papers", place(store, "delete")),
    ]
    assert [(span.name, attributes(span)) for span in telemetry.spans] == expected
    assert {span.kind for span in telemetry.spans} == {SpanKind.CLIENT}
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.UNSET}


async def test_a_query_is_a_retrieval_too_with_its_distances(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    found = await now(collection.query(query_embeddings=[[0.0, 0.0]], n_results=2))
    assert found["ids"] == [["a", "b"]]
    span = telemetry.span
    assert span.name == "retrieval papers"
    assert attributes(span) == place(store, "query") | {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.provider.name": "chroma",
        "gen_ai.data_source.id": "papers",
        "gen_ai.retrieval.top_k": 2,
        "genledger.retrieval.results": 2,
        "genledger.retrieval.distance.min": 0.0,
        "genledger.retrieval.distance.max": 1.0,
        "genledger.retrieval.distance.mean": 0.5,
    }


async def test_several_queries_at_once_are_one_span_with_all_their_results(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    await now(collection.query([[0.0, 0.0], [0.0, 3.0]], n_results=1, include=["documents"]))
    said = attributes(telemetry.span)
    assert said["db.operation.batch.size"] == 2
    assert said["genledger.retrieval.results"] == 2
    assert "genledger.retrieval.distance.min" not in said


async def test_a_query_that_does_not_say_how_many_asks_for_ten(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    await now(collection.query(query_embeddings=[[0.0, 0.0]]))
    assert attributes(telemetry.span)["gen_ai.retrieval.top_k"] == 10
    assert attributes(telemetry.span)["genledger.retrieval.results"] == 3


async def test_a_query_that_finds_nothing_has_no_distances(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    await now(collection.query(query_embeddings=[[0.0, 0.0]], where_document={"$contains": "nothing like it"}))
    said = attributes(telemetry.span)
    assert said["genledger.retrieval.results"] == 0
    assert not [name for name in said if "distance" in name]


async def test_calls_are_attributed_and_neither_priced_nor_counted_as_spend(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    with genledger.attribution(tenant="acme", feature="search", user="u1"):
        await now(collection.query(query_embeddings=[[0.0, 0.0]], n_results=1))
        assert genledger.spend() == (0.0, 0, 0, 0)
    said = attributes(telemetry.span)
    assert (said["genledger.tenant.id"], said["genledger.feature"], said["user.id"]) == ("acme", "search", "u1")
    assert not [name for name in said if "cost" in name or "usage" in name]


class Embedding(chromadb.EmbeddingFunction[Any]):
    """Embeds with OpenAI."""

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    def __call__(self, input: Any) -> Any:
        texts = list(input)
        found = self._client.embeddings.create(model="text-embedding-3-small", input=texts)
        return [item.embedding for item in found.data]

    @staticmethod
    def name() -> str:
        return "test-openai"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Any:
        raise NotImplementedError


async def test_an_embedding_made_inside_is_a_child_and_has_the_cost(store: Store, telemetry: Telemetry) -> None:
    provider = Provider(asynchronous=False)
    collection = await store.collection(embedding_function=Embedding(provider.openai()))

    def embedded(count: int) -> dict[str, Any]:
        vector = {"object": "embedding", "embedding": [0.5, 0.5]}
        return wire.embeddings(
            data=[vector | {"index": index} for index in range(count)],
            model="text-embedding-3-small",
            usage={"prompt_tokens": 1_000_000, "total_tokens": 1_000_000},
        )

    with genledger.attribution(tenant="acme"):
        provider.will(answer(embedded(2)))
        await now(collection.add(ids=["a", "b"], documents=["one", "two"]))
        provider.will(answer(embedded(1)))
        await now(collection.query(query_texts=["one"], n_results=1))
        # OpenAI's published price for text-embedding-3-small: 0.02 USD per million tokens.
        spent = genledger.spend()
    assert spent.usd == pytest.approx(0.04)
    assert (spent.calls, spent.unpriced, spent.tokens) == (2, 0, 2_000_000)
    spans = {span.context.span_id: span for span in telemetry.spans if span.context is not None}
    children = [span for span in spans.values() if span.name == "embeddings text-embedding-3-small"]
    assert [spans[span.parent.span_id].name for span in children if span.parent] == ["add papers", "retrieval papers"]
    assert len(spans) == 4


async def test_errors_are_the_applications_own_and_named_on_the_span(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    await now(store.client.delete_collection("papers"))
    with pytest.raises(chromadb.errors.NotFoundError) as first:
        await now(collection.count())
    with pytest.raises(ValueError):
        await now(collection.add(ids=["x", "y"], embeddings=[[1.0, 2.0]]))
    counted, added = telemetry.spans
    assert attributes(counted)["error.type"].endswith("NotFoundError")
    assert counted.status.status_code is StatusCode.ERROR
    assert counted.status.description == str(first.value)
    assert attributes(counted)["genledger.outcome"] == "error"
    assert attributes(added)["error.type"] == "ValueError"


async def test_wrong_arguments_fail_as_they_do_without_us(store: Store, telemetry: Telemetry) -> None:
    collection = await filled(store, telemetry)
    with pytest.raises(TypeError, match="nonsense"):
        await now(collection.count(nonsense=1))


async def test_the_content_of_a_query_is_recorded_only_when_asked_for(store: Store) -> None:
    provider = Provider(asynchronous=False)
    vector = {"object": "embedding", "embedding": [0.0, 0.0], "index": 0}
    provider.will(answer(wire.embeddings(data=[vector])))
    with instrumented(libraries=["chromadb"], capture_content="span") as telemetry:
        collection = await store.collection(embedding_function=Embedding(provider.openai()))
        await now(collection.add(ids=IDS, embeddings=VECTORS, documents=["mail a@example.com", "second", "third"]))
        await now(collection.query(query_texts=["who?"], n_results=2))
        said = attributes(telemetry.spans[-1])
        assert said["gen_ai.retrieval.query.text"] == "who?"
        assert said["gen_ai.retrieval.documents"] == (
            '[{"id":"a","content":"mail [email]","score":0.0},{"id":"b","content":"second","score":1.0}]'
        )
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)


async def test_a_query_counts_in_the_metrics_of_databases_and_of_client_operations(
    store: Store, telemetry: Telemetry
) -> None:
    collection = await filled(store, telemetry)
    await now(collection.query(query_embeddings=[[0.0, 0.0]]))
    data = telemetry.metrics
    assert data is not None
    counted: dict[tuple[str, Any], Any] = {
        (metric.name, attributes(point).get("db.operation.name") or attributes(point)["gen_ai.operation.name"]): point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if "duration" in metric.name
        for point in metric.data.data_points
    }
    assert {key: point.count for key, point in counted.items()} == {
        ("db.client.operation.duration", "add"): 1,
        ("db.client.operation.duration", "query"): 1,
        ("gen_ai.client.operation.duration", "retrieval"): 1,
    }


async def test_concurrent_queries_keep_their_own(server: int, telemetry: Telemetry) -> None:
    client = await chromadb.AsyncHttpClient("127.0.0.1", server, settings=quiet())
    for existing in await client.list_collections():
        await client.delete_collection(existing.name)
    collection = await client.create_collection("shared", embedding_function=None)
    await collection.add(ids=IDS, embeddings=VECTORS)
    telemetry.clear()

    async def one(number: int) -> None:
        with genledger.attribution(tenant=f"t{number}"):
            await collection.query(query_embeddings=VECTORS[:1], n_results=number + 1)

    await asyncio.gather(*(one(number) for number in range(3)))
    seen = {(attributes(s)["genledger.tenant.id"], attributes(s)["gen_ai.retrieval.top_k"]) for s in telemetry.spans}
    assert seen == {("t0", 1), ("t1", 2), ("t2", 3)}


@pytest.mark.parametrize("kind", [chromadb.Collection, AsyncCollection])
def test_uninstrument_puts_the_methods_back(kind: type) -> None:
    names = ["add", "upsert", "update", "delete", "get", "peek", "query", "count"]
    before: list[Callable[..., Any]] = [vars(kind)[name] for name in names]
    with instrumented(libraries=["chromadb"]):
        assert all(vars(kind)[name] is not method for name, method in zip(names, before, strict=True))
    assert [vars(kind)[name] for name in names] == before
    assert all(vars(kind)[name] is method for name, method in zip(names, before, strict=True))
