"""Chroma, 1.x: embedded and over HTTP, synchronous and not.

Client: https://docs.trychroma.com/reference/python/collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation, integer, text
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from ..formats.chroma_records import documents, query_text, read_batch, read_query, read_results, read_rows
from ..formats.vector_store import access, search

_PLACE = {
    "collection": (A.DB_COLLECTION_NAME, text),
    "database": (A.DB_NAMESPACE, text),
}
OPERATIONS: Mapping[str, Operation] = {
    **{name: access(name, _PLACE, request=read_batch) for name in ("add", "upsert", "update", "delete")},
    **{name: access(name, _PLACE, response=read_rows) for name in ("get", "peek")},
    "count": access("count", _PLACE),
    "query": search(
        "chroma",
        "query",
        {**_PLACE, "n_results": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
        request=read_query,
        response=read_results,
        input=query_text,
        output=documents,
    ),
}


def endpoint(collection: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that holds a collection; an embedded one has no address."""
    url = field(collection._client, "_api_url")
    return Endpoint.at("chroma", url) if isinstance(url, str) else Endpoint("chroma")


def body(collection: Any, given: dict[str, Any]) -> Body:
    """Return the arguments, and which collection they are for."""
    return {**given, "collection": collection.name, "database": field(collection, "database")}


class ChromaInstrumentor(Instrumentor):
    """Records the calls of the `chromadb` package."""

    library = "chromadb"
    distribution = "chromadb"
    supports = "chromadb >= 1.0, < 2"
    client = Methods(
        "chromadb",
        {f"chromadb.api.models.{cls}": cls for cls in ("Collection", "AsyncCollection")},
        OPERATIONS,
        endpoint,
        body,
    )
