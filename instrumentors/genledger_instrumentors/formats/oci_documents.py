"""Oracle's embeddings, reranks and guardrails.

https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Body, Content, Operation, integer, listed, strings
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .cohere_documents import RERANK as COHERE_RERANK
from .oci_requests import plain, serving, wire
from .openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS
from .openai_fields import read_answer


def read_asked(details: Mapping[str, Any]) -> Body:
    """Return a request. A rerank's query is its input."""
    names = {"documents": details.get("documents"), "query": details.get("input"), "top_n": details.get("topN")}
    sizes = {"dimensions": details.get("outputDimensions"), "encoding_format": details.get("embeddingTypes")}
    return {**serving(details), "inputs": details.get("inputs"), **names, **sizes}


def read_result(data: Any) -> Mapping[str, Any]:
    """Return what an answer says beside its vectors or ranks."""
    given = data if isinstance(data, Mapping) else {"modelId": field(data, "model_id"), "id": field(data, "id")}
    usage = given.get("usage") or field(data, "usage")
    return {"id": given.get("id"), "model": given.get("modelId"), "usage": plain(wire(usage)), "characters": 0}


def read_guarded(body: Body) -> Content:
    """Return what a guardrail is asked about."""
    said = [text_part(one) for one in listed(body.get("guarded")) if isinstance(one, str)]
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else None}


def read_guard(details: Mapping[str, Any]) -> Body:
    """Return a request to a guardrail: its texts."""
    items = (details.get("input"), *listed(details.get("multimodalInput")))
    return {"guarded": [field(one, "content") for one in items if one is not None]}


EMBEDDINGS = OPENAI_EMBEDDINGS._replace(
    fields={
        **OPENAI_EMBEDDINGS.fields,
        "dimensions": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer),
        "encoding_format": (A.GEN_AI_REQUEST_ENCODING_FORMATS, strings),
    }
)

RERANK = COHERE_RERANK._replace(response=read_answer, largest=None)

GUARDRAILS = Operation(name=S.MODERATION, api="apply_guardrails", input=read_guarded, fixed_model=True)
