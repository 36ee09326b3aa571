"""Gemini's wire format: generated content, not streamed.

Sources: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .answer import Answer
from .scripted_model import Prompt, ScriptedModel

Body = Mapping[str, Any]

_STATUSES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


def error(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """An error in Google's format."""
    body = {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}
    return Answer(status, body, headers=headers)


def _text(contents: Sequence[Body]) -> str:
    return "\n".join(part["text"] for content in contents for part in content["parts"] if "text" in part)


def generate(body: Body, name: str, model: ScriptedModel, number: int) -> Answer:
    """POST /v1beta/models/{name}:generateContent."""
    instructions = [body["systemInstruction"]] if "systemInstruction" in body else []
    completion = model.complete(
        Prompt(
            model=name,
            text=_text([*instructions, *body["contents"]]),
            question=_text(body["contents"][-1:]),
            max_tokens=body.get("generationConfig", {}).get("maxOutputTokens"),
        )
    )
    tokens = completion.tokens
    # promptTokenCount includes what was read from a cache.
    usage = {
        "promptTokenCount": tokens.input,
        "cachedContentTokenCount": tokens.cache_read,
        "candidatesTokenCount": tokens.output,
        "totalTokenCount": tokens.input + tokens.output,
    }
    candidate = {
        "content": {"role": "model", "parts": [{"text": completion.text}]},
        "finishReason": {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}[completion.finish],
        "index": 0,
    }
    whole = {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": name,
        "responseId": f"demo{number:08d}",
    }
    return Answer(200, whole, usage=usage, model=name)
