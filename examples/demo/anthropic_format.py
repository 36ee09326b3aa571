"""Anthropic's wire format: messages, plain and streamed.

Sources: https://docs.claude.com/en/api/messages, /en/docs/build-with-claude/streaming, /en/api/errors and
/en/docs/build-with-claude/prompt-caching.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .answer import Answer, Event
from .scripted_model import SNAPSHOTS, Completion, Prompt, ScriptedModel, Tool

Body = Mapping[str, Any]


def error(status: int, message: str, kind: str, request_id: str, headers: Mapping[str, str]) -> Answer:
    """An error in Anthropic's format."""
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
    return Answer(status, body, headers=headers)


def _blocks(content: str | Sequence[Body]) -> Sequence[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _read(body: Body) -> tuple[str, list[int]]:
    """All that the model reads, in the order in which it is cached, and where the cache marks stand in it."""
    parts: list[Body] = [*(body.get("tools") or ()), *_blocks(body.get("system") or ())]
    for message in body["messages"]:
        parts += _blocks(message["content"])
    text, marks = "", []
    for part in parts:
        text += part["text"] if part.get("type") == "text" else json.dumps(part, sort_keys=True)
        text += "\n"
        if part.get("cache_control"):
            marks.append(len(text))
    return text, marks


def messages(body: Body, model: ScriptedModel, number: int) -> Answer:
    """POST /v1/messages."""
    text, marks = _read(body)
    said = [
        (message["role"], block)
        for message in body["messages"]
        for block in _blocks(message["content"])
        if block["type"] in ("text", "tool_result")
    ]
    may_call = said[-1][1]["type"] == "text" and (body.get("tool_choice") or {}).get("type") != "none"
    # Server tools (web search and the like) have no schema and are not for the model to call here.
    offered = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    completion = model.complete(
        Prompt(
            model=body["model"],
            text=text,
            question=next((b["text"] for role, b in reversed(said) if role == "user" and b["type"] == "text"), ""),
            tools=[Tool(tool["name"], tool["input_schema"]) for tool in offered] if may_call else (),
            schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
            max_tokens=body["max_tokens"],
            breakpoints=marks,
        )
    )
    tokens = completion.tokens
    # Anthropic's input_tokens are only those that were neither read from the cache nor written to it.
    usage = {
        "input_tokens": tokens.input - tokens.cache_read - tokens.cache_write,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": tokens.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens.output,
        "service_tier": "standard",
    }
    served = SNAPSHOTS.get(body["model"], body["model"])
    whole = {
        "id": f"msg_demo{number:08d}",
        "type": "message",
        "role": "assistant",
        "model": served,
        "content": [_block(completion, number, filled=True)],
        "stop_reason": {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}[completion.finish],
        "stop_sequence": None,
        "usage": usage,
    }
    if body.get("stream"):
        return Answer(200, events=_events(completion, whole, number), usage=usage, model=served)
    return Answer(200, whole, usage=usage, model=served)


def _block(completion: Completion, number: int, *, filled: bool) -> dict[str, Any]:
    if completion.tool is None:
        return {"type": "text", "text": completion.text if filled else ""}
    complete = filled and completion.finish == "tool"
    arguments = json.loads(completion.text) if complete else {}
    return {"type": "tool_use", "id": f"toolu_demo{number:08d}", "name": completion.tool, "input": arguments}


def _events(completion: Completion, whole: Body, number: int) -> Iterator[Event]:
    def event(kind: str, **data: Any) -> Event:
        return Event(kind, {"type": kind, **data})

    usage = whole["usage"]
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield event("message_start", message=begun)
    yield event("content_block_start", index=0, content_block=_block(completion, number, filled=False))
    yield event("ping")
    for piece in completion.pieces:
        if completion.tool is None:
            delta = {"type": "text_delta", "text": piece}
        else:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    # The counts of message_delta are cumulative: they replace those of message_start.
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=stop, usage={name: usage[name] for name in names})
    yield event("message_stop")
