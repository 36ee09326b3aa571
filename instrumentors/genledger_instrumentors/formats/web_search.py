"""Searches of the web, which are billed by the request, and Perplexity's decisions, by tokens.

https://docs.perplexity.ai/api-reference, https://docs.z.ai/api-reference/tools/web-search
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import generic_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, text
from genledger.pricing.getters import first
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_embeddings import read_embeddings


def _search_request(body: Body, attributes: Attributes) -> None:
    """A search names no model: prices, rules and reports know it by its kind."""
    kind = body.get("search_type")
    attributes[A.GEN_AI_REQUEST_MODEL] = f"search-{kind}" if isinstance(kind, str) and kind != "web" else "search"


def _search_response(answer: Any, attributes: Attributes) -> None:
    results = first(answer, "results", "search_result")
    if isinstance(results, (list, tuple)):
        attributes[A.GENLEDGER_RETRIEVAL_RESULTS] = len(results)


def _query(body: Body) -> Content:
    query = body.get("query", body.get("search_query"))
    return {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query if isinstance(query, str) else "\n".join(map(str, listed(query)))}


def one_search(body: Body) -> Mapping[str, Any]:
    """Return an answer to a search: each costs the same, whatever it finds."""
    return {"results": []}


SEARCH = Operation(
    name=S.RETRIEVAL,
    api="search",
    fields={"max_results": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    request=_search_request,
    response=_search_response,
    input=_query,
    target=lambda attributes: None,
    fixed_model=True,
    largest=one_search,
)


def _asked(body: Body) -> Content:
    parts = [generic_part({"type": name, name: body[name]}) for name in ("state", "questions") if name in body]
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts}]}


DECISIONS = Operation(
    name=S.GENERATE_CONTENT,
    api="decisions",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    constant={A.GEN_AI_OUTPUT_TYPE: "json"},
    response=read_embeddings,
    input=_asked,
    family="inference",
)
