"""lm15, DSPy's own client: one request in the format of whichever provider it goes to.

DSPy sends failed requests again by itself: each is a call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.contract.row import Row
from tests.contract.rows import anthropic_messages, google_genai
from tests.contract.rows.openai_chat import PROMPT, USAGE, chunks, error, whole
from tests.contract.rows.openai_operations import responses

MODEL = "gpt-4o"


def making(provider: str, path: str = "/v1", model_type: str = "chat") -> Any:
    """Return what makes an engine that asks a provider at the server's URL and a path."""

    def make(url: str, asynchronous: bool, retries: int) -> Any:
        from dspy.clients.engines.lm15_engine import AsyncLM15Engine, LM15Engine
        from dspy.lm15 import RouterConfig

        config = RouterConfig(api_keys={provider: "k"}, base_urls={provider: url + path})
        return (AsyncLM15Engine if asynchronous else LM15Engine)(config, model_type=model_type)

    return make


def asking(model: str) -> Any:
    """Return what asks a model, given with its provider."""

    def ask(engine: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
        from dspy.lm15 import request_from_openai_chat

        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        request = request_from_openai_chat(body)
        return engine.stream(request) if stream else engine.complete(request)

    return ask


ROW = Row(
    library="dspy",
    module="dspy._vendor.lm15",
    client=making("openai-chat"),
    call=asking(f"openai/{MODEL}"),
    whole=whole(MODEL),
    events=chunks(MODEL, usage=USAGE),
    provider="openai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 2.5e-6 + 500 * 10e-6,  # https://platform.openai.com/docs/pricing
    error=error,
    cheaper="gpt-4o-mini",
    limit=lambda request: request.json.get("max_completion_tokens") or request.json.get("max_tokens"),
    retries=False,
)


def of(row: Row, provider: str, path: str, endpoint: str, **changes: Any) -> Row:
    """Return the row of another provider's format, from that of its own client."""
    engine, ask = making(provider, path, changes.pop("model_type", "chat")), asking(f"{provider}/{row.model}")
    common = {"library": ROW.library, "module": ROW.module, "retries": False, "endpoint": endpoint}
    return replace(row, client=engine, call=ask, **common, **changes)


OPERATIONS = (
    of(anthropic_messages.ROW, "anthropic", "/v1", "Messages"),
    of(google_genai.ROW, "gemini", "/v1beta", "Gemini"),
    of(responses(ROW), "openai", "/v1", "Responses", model_type="responses"),
)
