"""Google's client, with the Gemini API."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, json_reply, sse

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
MODEL = "gemini-2.5-flash"
USAGE = {"promptTokenCount": 1000, "candidatesTokenCount": 300, "thoughtsTokenCount": 200, "totalTokenCount": 1500}


def sends_again() -> bool:
    """Whether this is 1.21 or newer: before, a failed request was never sent again."""
    try:
        major, minor = version("google-genai").split(".")[:2]
    except PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= (1, 21)


def answer(said: str, reason: str | None = "STOP", model: str = MODEL, **more: Any) -> dict[str, Any]:
    """An answer of one candidate."""
    candidate = {"content": {"role": "model", "parts": [{"text": said}]}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": model, "responseId": "response-1", **more}


def whole(model: str = MODEL, usage: Any = USAGE, **headers: str) -> Reply:
    """A whole answer."""
    return json_reply(answer(TEXT, model=model, usageMetadata=usage), **headers)


def chunks(model: str = MODEL) -> tuple[bytes, ...]:
    """A streamed answer; each chunk counts what was generated so far."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    so_far = {"promptTokenCount": 1000, "totalTokenCount": 1000}
    return sse(
        *(answer(word, None, model, usageMetadata=so_far) for word in words),
        answer("", "STOP", model, usageMetadata=USAGE),
    )


def make(url: str, asynchronous: bool, retries: int, **options: Any) -> Any:
    """Make the models of a client."""
    from google import genai

    again = {"attempts": retries + 1, "initial_delay": 0.01, "max_delay": 0.02, "jitter": 0.0}
    settings: dict[str, Any] = {"base_url": url, "timeout": 20_000}
    if retries:
        settings["retry_options"] = again
    client = genai.Client(http_options=settings, **(options or {"api_key": "k"}))
    found = client.aio.models if asynchronous else client.models
    found.kept = client  # type: ignore[union-attr]  # which closes its connections when it is collected
    return found


def ask(models: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    limit = {} if max_tokens is None else {"max_output_tokens": max_tokens}
    method = models.generate_content_stream if stream else models.generate_content
    return method(model=MODEL, contents=PROMPT, config={"temperature": 0.5, **limit})


def error(status: int) -> Reply:
    """An error answer."""
    name = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}[status]
    return json_reply({"error": {"code": status, "message": f"No: {PROMPT}", "status": name}}, status)


def sent_model(request: Any) -> str:
    """Read the model out of the path of a request."""
    found = re.search(r"/models/([^:]+):", request.path)
    assert found is not None
    return found[1]


ROW = Row(
    library="google-genai",
    module="google.genai",
    client=make,
    call=ask,
    whole=whole(),
    events=chunks(),
    provider="gcp.gemini",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.3e-6 + 500 * 2.5e-6,  # https://ai.google.dev/gemini-api/docs/pricing, USD per token
    error=error,
    limit=lambda request: request.json["generationConfig"].get("maxOutputTokens"),
    sent_model=sent_model,
    cheaper="gemini-2.5-flash-lite",
    operation="generate_content",
    retries=sends_again(),
)

EMBEDDING_MODEL = "gemini-embedding-2"

OPERATIONS = (
    ROW.another(
        "embeddings",
        call=lambda models, **_: models.embed_content(model=EMBEDDING_MODEL, contents=PROMPT),
        whole=json_reply({"embeddings": [{"values": [0.1, 0.2]}], "usageMetadata": {"promptTokenCount": 1000}}),
        model=EMBEDDING_MODEL,
        usage=(1000, 0),
        cost=1000 * 0.2e-6,
        cheaper="gemini-embedding-001",
        content=False,
    ),
)
