"""Qdrant: embedded and remote, over HTTP and gRPC, synchronous and not. https://python-client.qdrant.tech

A score is a similarity or a distance, by the metric of the collection, which a client does not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Attributes, Body, Content, Endpoint, Operation, integer, text
from genledger.engine.to_json import plain
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from .store import SCORES, access, search, write_count, write_spread

_COLLECTION = {"collection_name": (A.DB_COLLECTION_NAME, text)}
_FILTERS = ("query_filter", "filter")
_GROUP_SIZE = 3
_LIMIT = 10


def _most(request: Any) -> int:
    """The most results of one search; a search that does not say takes the client's defaults."""
    limit = integer(field(request, "limit")) or _LIMIT
    if field(request, "group_by") is None:
        return limit
    return limit * (integer(field(request, "group_size")) or _GROUP_SIZE)


def read_search(body: Body, attributes: Attributes) -> None:
    """Where is searched, for how many results, and whether only among some."""
    requests = body.get("requests")
    write_count(requests, attributes)
    searches = list(requests) if isinstance(requests, (list, tuple)) else [body]
    attributes[A.GEN_AI_DATA_SOURCE_ID] = str(body.get("collection_name") or "")
    attributes[A.GEN_AI_RETRIEVAL_TOP_K] = max(map(_most, searches), default=_LIMIT)
    if any(field(one, name) is not None for one in searches for name in _FILTERS):
        attributes[A.GENLEDGER_RETRIEVAL_FILTERED] = True


def hits(answer: Any) -> Iterator[Any]:
    """The results of one search or several, in groups or not."""
    if isinstance(answer, (list, tuple)):
        for one in answer:
            yield from hits(one)
    elif field(answer, "score") is not None:
        yield answer
    else:
        for name in ("points", "groups", "hits"):
            yield from hits(field(answer, name) or ())


def read_hits(answer: Any, attributes: Attributes) -> None:
    """How many results came, and their scores."""
    scores = [field(hit, "score") for hit in hits(answer)]
    attributes[A.GENLEDGER_RETRIEVAL_RESULTS] = len(scores)
    write_spread(SCORES, scores, attributes)


def read_write(body: Body, attributes: Attributes) -> None:
    """How many records a call writes, when it names them."""
    for name in ("points", "points_selector", "update_operations"):
        given = body.get(name)
        for inner in ("ids", "points"):
            given = field(given, inner) or given
        write_count(given, attributes)


def read_rows(answer: Any, attributes: Attributes) -> None:
    """How many records came: a page of them has where the next one begins beside it."""
    rows = answer[0] if isinstance(answer, tuple) else answer
    attributes[A.DB_RESPONSE_RETURNED_ROWS] = len(rows)


def _texts(query: Any) -> Iterator[str]:
    """The texts that a query has the store embed."""
    if isinstance(query, (list, tuple)):
        for one in query:
            yield from _texts(one)
    elif isinstance(found := field(query, "text"), str):
        yield found
    else:
        for name in ("requests", "query", "nearest", "prefetch"):
            if (inner := field(query, name)) is not None:
                yield from _texts(inner)


def query_text(body: Body) -> Content:
    """The texts that are searched for, where they are not vectors already."""
    asked = body.get("query_text")
    texts = [asked] if isinstance(asked, str) else list(dict.fromkeys(_texts(body)))
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: "\n".join(texts)} if texts else {}


def documents(answer: Any) -> Content:
    """What was found: the payloads, with their scores."""
    return {
        A.GEN_AI_RETRIEVAL_DOCUMENTS: [
            {"id": str(field(hit, "id")), "score": field(hit, "score"), "content": plain(field(hit, "payload"))}
            for hit in hits(answer)
        ]
    }


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


def endpoint(client: Any) -> Endpoint:
    """The server that a client was made for; an embedded store has no address."""
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

    def patches(self) -> Patches:
        """The methods of both clients."""
        return [
            patch
            for module, cls in (("qdrant_client", "QdrantClient"), ("async_qdrant_client", "AsyncQdrantClient"))
            for patch in Methods(
                self.library, f"qdrant_client.{module}", cls, OPERATIONS, endpoint, lambda client, given: given
            ).patches()
        ]
