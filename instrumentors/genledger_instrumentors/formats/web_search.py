"""Searches of the web, which are billed by the request.

https://docs.perplexity.ai/api-reference, https://docs.z.ai/api-reference/tools/web-search
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed
from genledger.pricing.getters import first
from genledger_semconv import attributes as A
from genledger_semconv import spans as S


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
