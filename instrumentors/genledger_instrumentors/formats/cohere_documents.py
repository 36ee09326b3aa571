"""Cohere's document endpoints: embed, rerank, parse and transcribe.

https://docs.cohere.com/v2/reference, https://docs.cohere.com/v1/reference. What is billed is in `billed_units`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, strings, text, write_texts
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}


def read_identifier(answer: Any, attributes: Attributes) -> None:
    """Read under which identifier an answer came."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID),), attributes)


def read_query(body: Body) -> Content:
    """Read what documents are ordered by."""
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: body.get("query")}


_PIECE = 1000
"""Characters of a document that are 500 tokens at most, at two characters a token."""


def largest_rerank(body: Body) -> Mapping[str, Any]:
    """Return the largest answer to a rerank: a search unit for each 100 documents of up to 500 tokens.

    A longer document counts as several. https://docs.cohere.com/docs/how-does-cohere-pricing-work
    """
    pieces = sum(max(-(-len(str(one)) // _PIECE), 1) for one in listed(body.get("documents")))
    return {"meta": {"billed_units": {"search_units": max(-(-pieces // 100), 1)}}}


EMBED = Operation(
    name=S.EMBEDDINGS,
    api="embed",
    fields={
        **_MODEL,
        "output_dimension": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer),
        "embedding_types": (A.GEN_AI_REQUEST_ENCODING_FORMATS, strings),
    },
)

RERANK = Operation(
    name=S.RERANK,
    api="rerank",
    fields={**_MODEL, "top_n": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    response=read_identifier,
    input=read_query,
    largest=largest_rerank,
)

PARSE = Operation(name=S.OCR, api="parse", fields=_MODEL, response=read_identifier)

CLASSIFY = Operation(name=S.MODERATION, api="classify", fields=_MODEL, response=read_identifier)

TRANSCRIPTION = Operation(name=S.TRANSCRIPTION, api="transcriptions", fields=_MODEL)
