"""Qdrant: embedded and remote, over HTTP and gRPC, synchronous and not. https://python-client.qdrant.tech"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Endpoint, Operation, text
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.instrumentor import Instrumentor
from genledger_semconv import attributes as A

from ..formats.qdrant_points import documents, query_text, read_hits, read_rows, read_search, read_write
from ..formats.vector_store import access, search

_COLLECTION = {"collection_name": (A.DB_COLLECTION_NAME, text)}
OPERATIONS: Mapping[str, Operation] = {
    **{
        name: search(
            "qdrant",
            name,
            _COLLECTION,
            request=read_search,
            response=read_hits,
            input=query_text,
            output=documents,
        )
        for name in (
            "query_points",
            "query_batch_points",
            "query_points_groups",
            # Of versions before 1.16. The first embeds a text and calls the second.
            "query",
            "search",
            "search_batch",
            "search_groups",
            "recommend",
            "recommend_batch",
            "recommend_groups",
            "discover",
            "discover_batch",
        )
    },
    **{name: access(name, _COLLECTION, response=read_rows) for name in ("scroll", "retrieve")},
    **{
        name: access(name, _COLLECTION, request=read_write)
        for name in (
            "upsert",
            "upload_points",
            "upload_collection",
            "delete",
            "set_payload",
            "overwrite_payload",
            "update_vectors",
            "batch_update_points",
        )
    },
    "count": access("count", _COLLECTION),
}


def endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client was made for; an embedded store has no address."""
    options = client.init_options
    location = options.get("location")
    url = options.get("url") or (location if location != ":memory:" else None)
    host = options.get("host")
    if url is not None and "://" not in url:
        url = f"http://{url}"
    if url is None and host is None:
        return Endpoint("qdrant")
    parts = urlsplit(url or f"http://{host}")
    port = options.get("grpc_port") if options.get("prefer_grpc") else parts.port or options.get("port")
    return Endpoint("qdrant", parts.hostname, port, url)


class QdrantInstrumentor(Instrumentor):
    """Records the calls of the `qdrant-client` package."""

    library = "qdrant-client"
    distribution = "qdrant-client"
    supports = "qdrant-client >= 1.14, < 2"
    client = Methods(
        "qdrant-client",
        {"qdrant_client.qdrant_client": "QdrantClient", "qdrant_client.async_qdrant_client": "AsyncQdrantClient"},
        OPERATIONS,
        endpoint,
    )
