"""Chroma, in this process."""

from __future__ import annotations

import uuid
from typing import Any

from tests.contract.stores.row import COLLECTION, FILTERED, TEXTS, VECTORS, StoreRow


def open_store(asynchronous: bool) -> Any:
    """Make a collection; what it embeds lies where the first record lies."""
    import chromadb
    from chromadb.config import Settings

    class Embedding(chromadb.EmbeddingFunction[Any]):
        def __init__(self) -> None:
            """Have no model."""

        def __call__(self, input: Any) -> Any:
            return [[0.0, 0.0] for _ in input]

        @staticmethod
        def name() -> str:
            return "contract"

        def get_config(self) -> dict[str, Any]:
            return {}

    # Clients of one process share one engine: each store has a database of its own.
    database = uuid.uuid4().hex
    chromadb.AdminClient(Settings(anonymized_telemetry=False)).create_database(database)
    client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False), database=database)
    return client.create_collection(COLLECTION, embedding_function=Embedding())


def write(collection: Any) -> Any:
    """Store the records."""
    metadatas = [{"text": text} for text in TEXTS]
    return collection.upsert(["a", "b", "c"], [list(one) for one in VECTORS], metadatas, list(TEXTS))


def search(collection: Any, *, vector: Any, limit: int, filtered: bool = False, gone: bool = False) -> Any:
    """Search."""
    if gone:
        collection._client.delete_collection(COLLECTION, collection.tenant, collection.database)
    return collection.query([vector], n_results=limit, where={"text": FILTERED} if filtered else None)


def ask(collection: Any, text: str) -> Any:
    """Search for a text."""
    return collection.query(query_texts=[text], n_results=1)


ROW = StoreRow(
    library="chromadb",
    module="chromadb",
    system="chroma",
    open=open_store,
    write=write,
    search=search,
    search_name="query",
    write_name="upsert",
    spread="genledger.retrieval.distance",
    distances=(0.0, 1.0, 9.0),  # squared
    asynchronous=False,  # its asynchronous client needs a server: tests/instrumentors/vectorstores/test_chromadb.py
    ask=ask,
)
