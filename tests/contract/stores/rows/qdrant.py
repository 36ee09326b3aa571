"""Qdrant, in memory."""

from __future__ import annotations

from typing import Any

from tests.contract.stores.row import COLLECTION, FILTERED, TEXTS, VECTORS, StoreRow


def open_store(asynchronous: bool) -> Any:
    """Make a client."""
    import qdrant_client
    from qdrant_client import models

    space = models.VectorParams(size=2, distance=models.Distance.EUCLID)
    if not asynchronous:
        client = qdrant_client.QdrantClient(":memory:")
        client.create_collection(COLLECTION, space)
        return client

    async def make() -> Any:
        client = qdrant_client.AsyncQdrantClient(":memory:")
        await client.create_collection(COLLECTION, space)
        return client

    return make()


def write(client: Any) -> Any:
    """Store the records."""
    from qdrant_client import models

    return client.upsert(
        COLLECTION,
        [
            models.PointStruct(id=number, vector=list(vector), payload={"text": text})
            for number, (vector, text) in enumerate(zip(VECTORS, TEXTS, strict=True))
        ],
    )


def search(client: Any, *, vector: Any, limit: int, filtered: bool = False, gone: bool = False) -> Any:
    """Search."""
    from qdrant_client import models

    only = models.Filter(must=[models.FieldCondition(key="text", match=models.MatchValue(value=FILTERED))])
    return client.query_points(
        "nowhere" if gone else COLLECTION, vector, query_filter=only if filtered else None, limit=limit
    )


ROW = StoreRow(
    library="qdrant-client",
    module="qdrant_client",
    system="qdrant",
    open=open_store,
    write=write,
    search=search,
    search_name="query_points",
    write_name="upsert",
    spread="genledger.retrieval.score",
    ask=None,  # fastembed would have to load a model
)
