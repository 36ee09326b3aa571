"""Chroma, 1.x: embedded and over HTTP, synchronous and not.

Client: https://docs.trychroma.com/reference/python/collection. Chroma has no convention of its own: its calls are
`db.*` spans, and a query is a `retrieval` as well (the conventions allow both on one span).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Attributes, Body, Content, Endpoint, Operation, integer, text
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_PLACE = {
    "collection": (A.DB_COLLECTION_NAME, text),
    "database": (A.DB_NAMESPACE, text),
}


def read_batch(body: Body, attributes: Attributes) -> None:
    """How many records a call writes, when it is more than one."""
    ids = body.get("ids")
    if isinstance(ids, (list, tuple)) and len(ids) > 1:
        attributes[A.DB_OPERATION_BATCH_SIZE] = len(ids)


def read_query(body: Body, attributes: Attributes) -> None:
    """What is searched, and for how many results."""
    attributes[A.GEN_AI_DATA_SOURCE_ID] = str(body.get("collection") or "")
    attributes.setdefault(A.GEN_AI_RETRIEVAL_TOP_K, 10)
    queries = body.get("query_texts") or body.get("query_embeddings")
    if isinstance(queries, (list, tuple)) and len(queries) > 1 and not isinstance(queries[0], (int, float)):
        attributes[A.DB_OPERATION_BATCH_SIZE] = len(queries)


def read_results(answer: Any, attributes: Attributes) -> None:
    """How many results came, and how near they were."""
    found = [ids for ids in field(answer, "ids") or () if isinstance(ids, list)]
    attributes[A.GENLEDGER_RETRIEVAL_RESULTS] = sum(len(ids) for ids in found)
    distances = [
        float(distance)
        for row in field(answer, "distances") or ()
        if isinstance(row, Sequence)
        for distance in row
        if isinstance(distance, (int, float))
    ]
    if distances:
        attributes[A.GENLEDGER_RETRIEVAL_DISTANCE_MIN] = min(distances)
        attributes[A.GENLEDGER_RETRIEVAL_DISTANCE_MAX] = max(distances)
        attributes[A.GENLEDGER_RETRIEVAL_DISTANCE_MEAN] = sum(distances) / len(distances)


def read_rows(answer: Any, attributes: Attributes) -> None:
    """How many records came."""
    ids = field(answer, "ids")
    if isinstance(ids, list):
        attributes[A.DB_RESPONSE_RETURNED_ROWS] = len(ids)


def query_text(body: Body) -> Content:
    """The texts that are searched for."""
    texts = body.get("query_texts")
    texts = [texts] if isinstance(texts, str) else texts
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: "\n".join(map(str, texts))} if isinstance(texts, (list, tuple)) else {}


def documents(answer: Any) -> Content:
    """The documents that were found, with their distances."""
    found = []
    rows = field(answer, "ids") or ()
    texts, distances = field(answer, "documents") or (), field(answer, "distances") or ()
    for position, ids in enumerate(rows):
        for place, identifier in enumerate(ids):
            document = {"id": identifier}
            for name, values in (("content", texts), ("score", distances)):
                if position < len(values) and values[position] and place < len(values[position]):
                    document[name] = values[position][place]
            found.append(document)
    return {A.GEN_AI_RETRIEVAL_DOCUMENTS: found}


def _operation(name: str, **options: Any) -> Operation:
    return Operation(
        name=name,
        api=name,
        fields=_PLACE,
        priced=False,
        family="db",
        target=lambda attributes: str(attributes.get(A.DB_COLLECTION_NAME) or "") or None,
        **options,
    )


QUERY = Operation(
    name=S.RETRIEVAL,
    api="query",
    fields={**_PLACE, "n_results": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    request=read_query,
    response=read_results,
    input=query_text,
    output=documents,
    constant={A.DB_SYSTEM_NAME: "chroma", A.DB_OPERATION_NAME: "query"},
    priced=False,
    family="retrieval",
    target=lambda attributes: str(attributes.get(A.GEN_AI_DATA_SOURCE_ID) or "") or None,
)

OPERATIONS: Mapping[str, Operation] = {
    "add": _operation("add", request=read_batch),
    "upsert": _operation("upsert", request=read_batch),
    "update": _operation("update", request=read_batch),
    "delete": _operation("delete", request=read_batch),
    "get": _operation("get", response=read_rows),
    "peek": _operation("peek", response=read_rows),
    "count": _operation("count"),
    "query": QUERY,
}


def endpoint(collection: Any) -> Endpoint:
    """The server that holds a collection; an embedded one has no address."""
    url = field(collection._client, "_api_url")
    if not isinstance(url, str):
        return Endpoint("chroma")
    parts = urlsplit(url)
    return Endpoint("chroma", parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), url)


def body(collection: Any, given: dict[str, Any]) -> Body:
    """The arguments, and which collection they are for."""
    return {**given, "collection": collection.name, "database": field(collection, "database")}


class ChromaInstrumentor(Instrumentor):
    """Records the calls of the `chromadb` package."""

    library = "chromadb"
    distribution = "chromadb"
    supports = "chromadb >= 1.0, < 2"

    def patches(self) -> Patches:
        """The methods of collections."""
        return [
            *Methods("chromadb", "chromadb.api.models.Collection", "Collection", OPERATIONS, endpoint, body).patches(),
            *Methods(
                "chromadb",
                "chromadb.api.models.AsyncCollection",
                "AsyncCollection",
                OPERATIONS,
                endpoint,
                body,
                asynchronous=True,
            ).patches(),
        ]
