"""Perplexity's client: generated as OpenAI's is, and reports what an answer costs."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.row import Row, at_least
from tests.contract.rows.openai_chat import PROMPT, TEXT, USAGE, ask
from tests.contract.rows.openai_operations import (
    PRICES,
    RESPONSE_USAGE,
    embeddings,
    respond,
    response,
    response_events,
    responses,
    vectors,
)
from tests.contract.server import Reply, json_reply, sse

MODEL = "sonar-pro"
COST = 0.0165
"""What the answers report: https://docs.perplexity.ai/docs/getting-started/pricing has 0.0105 for their tokens, and
0.006 for a request with the smallest search context."""

_COSTS = {"input_tokens_cost": 0.003, "output_tokens_cost": 0.0075, "request_cost": 0.006, "total_cost": COST}
_UNKNOWN = {"input_tokens_cost": 0, "output_tokens_cost": 0, "total_cost": 0}
_HEAD = {"id": "c9b1", "created": 1790000000, "model": MODEL}


def _choice(said: str, delta: str, finish: str | None = None) -> dict[str, Any]:
    message, piece = ({"role": "assistant", "content": text} for text in (said, delta))
    return {"index": 0, "message": message, "delta": piece, "finish_reason": finish}


def _chunks() -> tuple[bytes, ...]:
    """A streamed answer: each chunk has all that was said until then, and what was used."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    events: list[Any] = []
    for number, word in enumerate(words, 1):
        usage = {"prompt_tokens": 1000, "completion_tokens": number, "total_tokens": 1000 + number, "cost": _UNKNOWN}
        choice = _choice("".join(words[:number]), word)
        events.append({**_HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": usage})
    last = {**_HEAD, "object": "chat.completion.done", "choices": [_choice(TEXT, "", "stop")]}
    return sse(*events, {**last, "usage": {**USAGE, "cost": _COSTS}})


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import perplexity

    kind = perplexity.AsyncPerplexity if asynchronous else perplexity.Perplexity
    return kind(base_url=url, api_key="k", max_retries=retries, timeout=20)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"error": {"message": f"No: {PROMPT}", "type": "invalid_request", "code": status}}, status)


_WHOLE = {**_HEAD, "object": "chat.completion", "choices": [_choice(TEXT, "", "stop")]}

ROW = Row(
    library="perplexityai",
    module="perplexity",
    client=make,
    call=partial(ask, model=MODEL),
    whole=json_reply({**_WHOLE, "usage": {**USAGE, "cost": _COSTS}}),
    events=_chunks(),
    provider="perplexity",
    model=MODEL,
    usage=(1000, 500),
    cost=COST,
    error=error,
    cheaper="sonar",
)

_USED = {**RESPONSE_USAGE, "cost": {"currency": "USD", "input_cost": 0.003, "output_cost": 0.006, "total_cost": 0.009}}
_EMBEDDED = {"currency": "USD", "input_cost": 3e-5, "total_cost": 3e-5}
_EMBEDDER = "pplx-embed-v1-4b"
_FOUND = {"title": "Paris", "url": "https://example.com", "snippet": "The capital."}

_NEWER = (
    responses(
        ROW,
        call=partial(respond, model="openai/gpt-5.2"),
        whole=json_reply(response(model="openai/gpt-5.2", usage=_USED)),
        events=response_events(model="openai/gpt-5.2", usage=_USED),
        model="openai/gpt-5.2",
        cost=0.009,
        cheaper="openai/gpt-5-mini",
        options=PRICES,
    ),
    embeddings(ROW, _EMBEDDER, 3e-5, whole=vectors(_EMBEDDER, {"cost": _EMBEDDED})),
)

OPERATIONS = (
    ROW.another(
        "retrieval",
        call=lambda client, **_: client.search.create(query=PROMPT, max_results=3),
        whole=json_reply({"id": "s1", "results": [_FOUND]}),
        model="search",
        usage=(0, 0),
        cost=0.005,
        counted=False,
    ),
    *(_NEWER if at_least("perplexityai", 0, 46) else ()),
)
