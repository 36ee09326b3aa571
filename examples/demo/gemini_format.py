"""Gemini's wire format: generated content, not streamed.

Sources: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .answer import Answer
from .scripted_model import Completion, Prompt, ScriptedModel, Tool

Body = Mapping[str, Any]

_STATUSES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


def error(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """An error in Google's format."""
    body = {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}
    return Answer(status, body, headers=headers)


def _text(contents: Sequence[Body]) -> str:
    return "\n".join(part["text"] for content in contents for part in content["parts"] if "text" in part)


def _tools(body: Body) -> list[Tool]:
    """The functions that the model may call: none of them when the last message is not the user's text."""
    if any("text" not in part for part in body["contents"][-1]["parts"]):
        return []
    offered = [function for tool in body.get("tools") or () for function in tool.get("functionDeclarations", ())]
    return [Tool(one["name"], one.get("parametersJsonSchema") or one["parameters_json_schema"]) for one in offered]


def _part(completion: Completion) -> dict[str, Any]:
    if completion.tool is None:
        return {"text": completion.text}
    return {"functionCall": {"name": completion.tool, "args": json.loads(completion.text)}}


def generate(body: Body, name: str, model: ScriptedModel, number: int) -> Answer:
    """POST /v1beta/models/{name}:generateContent."""
    instructions = [body["systemInstruction"]] if "systemInstruction" in body else []
    completion = model.complete(
        Prompt(
            model=name,
            text=_text([*instructions, *body["contents"]]),
            question=next(filter(None, (_text([content]) for content in reversed(body["contents"]))), ""),
            tools=_tools(body),
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
        "content": {"role": "model", "parts": [_part(completion)]},
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
