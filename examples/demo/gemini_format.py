"""Gemini's wire format: generated content, whole or streamed.

Sources: https://ai.google.dev/api/generate-content and https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .answer import Answer, Event
from .scripted_model import Completion, Prompt, ScriptedModel, Tool

Body = Mapping[str, Any]

_STATUSES = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


def error(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """An error in Google's format."""
    body = {"error": {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}}
    return Answer(status, body, headers=headers)


def _text(contents: Sequence[Body]) -> str:
    return "\n".join(part["text"] for content in contents for part in content["parts"] if "text" in part)


def _tools(body: Body, rounds: int) -> list[Tool]:
    """The functions that the model may call: none of them after so many results since the user's text."""
    results = 0
    for content in reversed(body["contents"]):
        if content["role"] == "user" and all("text" in part for part in content["parts"]):
            break
        results += any("functionResponse" in part for part in content["parts"])
    if results >= rounds:
        return []
    offered = [function for tool in body.get("tools") or () for function in tool.get("functionDeclarations", ())]
    return [Tool(one["name"], one.get("parametersJsonSchema") or one["parameters_json_schema"]) for one in offered]


def _part(completion: Completion) -> dict[str, Any]:
    if completion.tool is None:
        return {"text": completion.text}
    return {"functionCall": {"name": completion.tool, "args": json.loads(completion.text)}}


def generate(body: Body, name: str, model: ScriptedModel, number: int, *, stream: bool = False) -> Answer:
    """POST /v1beta/models/{name}:generateContent, or :streamGenerateContent with `alt=sse`."""
    instructions = [body["systemInstruction"]] if "systemInstruction" in body else []
    completion = model.complete(
        Prompt(
            model=name,
            text=_text([*instructions, *body["contents"]]),
            question=next(filter(None, (_text([content]) for content in reversed(body["contents"]))), ""),
            tools=_tools(body, model.rounds),
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
    common = {"modelVersion": name, "responseId": f"demo{number:08d}"}
    last = {**common, "usageMetadata": usage}
    if stream:
        return Answer(200, events=_events(completion, common, last), usage=usage, model=name)
    return Answer(200, {"candidates": [_candidate(_part(completion), completion)], **last}, usage=usage, model=name)


def _events(completion: Completion, common: Body, last: Body) -> Iterator[Event]:
    """Text comes in pieces, a function call whole; the last event has the usage."""
    if completion.tool is None:
        for piece in completion.pieces[:-1]:
            yield Event(None, {"candidates": [_candidate({"text": piece})], **common})
        part = {"text": "".join(completion.pieces[-1:])}
    else:
        part = _part(completion)
    yield Event(None, {"candidates": [_candidate(part, completion)], **last})


def _candidate(part: Body, finished: Completion | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
    if finished is not None:
        candidate["finishReason"] = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}[finished.finish]
    return candidate
