"""Embeddings and moderations: what reads a text and generates none."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Attributes, Operation, integer, strings, text, write_texts
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_fields import read_answer

_MODEL = {"model": (A.GEN_AI_REQUEST_MODEL, text)}


def read_embeddings(answer: Any, attributes: Attributes) -> None:
    """Which model made the vectors."""
    write_texts(answer, (("model", A.GEN_AI_RESPONSE_MODEL),), attributes)


EMBEDDINGS = Operation(
    name=S.EMBEDDINGS,
    api="embeddings",
    fields={
        **_MODEL,
        "dimensions": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer),
        "encoding_format": (A.GEN_AI_REQUEST_ENCODING_FORMATS, strings),
    },
    response=read_embeddings,
)

MODERATIONS = Operation(name=S.MODERATION, api="moderations", fields=_MODEL, response=read_answer)
