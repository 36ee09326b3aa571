"""Chroma's requests, and the records that it answers with: a list for each query, by field.

Client: https://docs.trychroma.com/reference/python/collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from genledger.engine.operation import Attributes, Body, Content
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from .vector_store import DISTANCES, write_count, write_spread

_QUERIES = ("query_texts", "query_embeddings")


def read_batch(body: Body, attributes: Attributes) -> None:
    """How many records a call writes, when it is more than one."""
    write_count(body.get("ids"), attributes)


def read_query(body: Body, attributes: Attributes) -> None:
    """Read the query, the number of results, and whether a filter is set."""
    attributes[A.GEN_AI_DATA_SOURCE_ID] = str(body.get("collection") or "")
    attributes.setdefault(A.GEN_AI_RETRIEVAL_TOP_K, 10)
    if body.get("where") is not None or body.get("where_document") is not None:
        attributes[A.GENLEDGER_RETRIEVAL_FILTERED] = True
    queries: Any = next((found for name in _QUERIES if (found := body.get(name)) is not None), ())
    if len(queries) and not isinstance(queries[0], Real):
        write_count(queries, attributes)


def read_results(answer: Any, attributes: Attributes) -> None:
    """How many results came, and how near they were."""
    found = [ids for ids in field(answer, "ids") or () if isinstance(ids, list)]
    attributes[A.GENLEDGER_RETRIEVAL_RESULTS] = sum(len(ids) for ids in found)
    rows = field(answer, "distances") or ()
    write_spread(DISTANCES, [one for row in rows if isinstance(row, Sequence) for one in row], attributes)


def read_rows(answer: Any, attributes: Attributes) -> None:
    """How many records came."""
    ids = field(answer, "ids")
    if isinstance(ids, list):
        attributes[A.DB_RESPONSE_RETURNED_ROWS] = len(ids)


def query_text(body: Body) -> Content:
    """Return the texts that are searched for."""
    texts = body.get("query_texts")
    texts = [texts] if isinstance(texts, str) else texts
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: "\n".join(map(str, texts))} if isinstance(texts, (list, tuple)) else {}


def documents(answer: Any) -> Content:
    """Return the documents that were found, with their distances."""
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
