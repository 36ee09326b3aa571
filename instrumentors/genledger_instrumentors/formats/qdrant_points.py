"""Qdrant's requests and the points that it answers with. API: https://api.qdrant.tech/api-reference

A score is a similarity or a distance, by the metric of the collection, which a client does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from genledger.engine.operation import Attributes, Body, Content, integer
from genledger.engine.to_json import plain
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from .vector_store import SCORES, write_count, write_spread

_FILTERS = ("query_filter", "filter")
_GROUP_SIZE = 3
_LIMIT = 10


def _most(request: Any) -> int:
    """Return the maximum results of one search (default: the client's)."""
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
    """Yield the results of one search or several, in groups or not."""
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
    """Yield the texts that a query has the store embed."""
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
    """Return the texts that are searched for, where they are not vectors already."""
    asked = body.get("query_text")
    texts = [asked] if isinstance(asked, str) else list(dict.fromkeys(_texts(body)))
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: "\n".join(texts)} if texts else {}


def documents(answer: Any) -> Content:
    """Return the payloads found, with their scores."""
    return {
        A.GEN_AI_RETRIEVAL_DOCUMENTS: [
            {"id": str(field(hit, "id")), "score": field(hit, "score"), "content": plain(field(hit, "payload"))}
            for hit in hits(answer)
        ]
    }
