"""Gemini's Interactions: answers of models and agents in steps, streamed, or made in the background.

https://ai.google.dev/api/interactions-api
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import (
    Blob,
    generic_part,
    media_part,
    reasoning_part,
    text_part,
    tool_call_part,
    tool_response_part,
)
from genledger.engine.operation import (
    Attributes,
    Body,
    Content,
    Finished,
    Operation,
    integer,
    listed,
    number,
    strings,
    text,
    write_texts,
)
from genledger.pricing.getters import field, first
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .gemini_interactions_stream import InteractionEvents

_MEDIA = frozenset(("image", "audio", "video", "document"))
_FINISH = {
    "completed": "stop",
    "requires_action": "tool_call",
    "incomplete": "length",
    "requires_continuation": "length",
}
_FINAL = frozenset((*_FINISH, "failed", "cancelled"))
_SEARCHES = {"google_search": "web_search", "google_maps": "maps_search"}


def read_request(body: Body, attributes: Attributes) -> None:
    """Read what the answer is to be."""
    modalities = [str(one).lower() for one in listed(body.get("response_modalities"))]
    other = next((one for one in modalities if one in ("image", "audio")), None)
    if other is not None:
        attributes[A.GEN_AI_OUTPUT_TYPE] = "speech" if other == "audio" else other
    elif body.get("response_format") is not None or body.get("response_mime_type") == "application/json":
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model or agent, and how the interaction ended."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("model", A.GEN_AI_RESPONSE_MODEL)), attributes)
    status = field(answer, "status")
    if isinstance(status, str) and status in _FINAL:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (_FINISH.get(status, "error"),)
    if status == "failed":
        attributes[A.ERROR_TYPE] = "failed"


def read_fetched(answer: Any, attributes: Attributes) -> None:
    """Read an interaction that was asked for: its state, but not its usage, which its creation pays for."""
    read_response(answer, attributes)
    attributes.pop(A.ERROR_TYPE, None)
    write_texts(answer, (("status", A.GEN_AI_RESPONSE_STATUS),), attributes)


def unfinished(body: Body, answer: Any) -> str | None:
    """Return the interaction that goes on in the background: its usage comes when it is asked for."""
    if body.get("background") is not True or field(answer, "status") in _FINAL:
        return None
    return text(field(answer, "id"))


def finished(body: Body, answer: Any) -> Finished | None:
    """Return the interaction that an answer carries the usage of."""
    status, name = field(answer, "status"), text(field(answer, "id"))
    if status not in _FINAL or name is None:
        return None
    return Finished(name, "failed" if status == "failed" else None, cancelled=status == "cancelled")


def _part(item: Any) -> Any:
    """Return a piece of content."""
    kind = field(item, "type")
    if isinstance(item, str) or kind == "text":
        return text_part(item if isinstance(item, str) else field(item, "text") or "")
    if isinstance(kind, str) and kind in _MEDIA:
        mime, data, uri = field(item, "mime_type"), field(item, "data"), field(item, "uri")
        return Blob(kind, text(mime), data) if isinstance(data, str) else media_part(kind, uri, text(mime))
    return _step_parts(item)[0]


def _parts(content: Any) -> list[Any]:
    if content is None:
        return []
    return [_part(one) for one in content] if isinstance(content, (list, tuple)) else [_part(content)]


def _step_parts(step: Any) -> list[Any]:
    """Return a step, or a piece of content that is like one, as parts of a message."""
    kind = field(step, "type")
    if kind in ("model_output", "user_input"):
        return _parts(field(step, "content"))
    if kind == "thought":
        thoughts = (text(field(one, "text")) for one in listed(field(step, "summary")))
        return [reasoning_part("".join(filter(None, thoughts)))]
    if kind == "function_call":
        return [tool_call_part(field(step, "name"), field(step, "arguments"), field(step, "id"))]
    if kind == "function_result":
        return [tool_response_part(field(step, "result"), field(step, "call_id"))]
    return [generic_part(step)]


def _message(item: Any) -> dict[str, Any]:
    """Return a turn or step of the input."""
    role, kind = field(item, "role"), field(item, "type")
    if isinstance(role, str):
        return {"role": "assistant" if role == "model" else role, "parts": _parts(field(item, "content"))}
    own = kind in ("model_output", "thought", "function_call")
    return {"role": "assistant" if own else "tool" if kind == "function_result" else "user", "parts": _step_parts(item)}


def read_input(body: Body) -> Content:
    """Return the instruction, turns and tools of a request."""
    given = body.get("input")
    turns = any(field(one, "role") or str(field(one, "type")) not in {"text", *_MEDIA} for one in listed(given))
    messages = [_message(one) for one in listed(given)] if turns else [{"role": "user", "parts": _parts(given)}]
    tools = [
        {"type": str(field(tool, "type")), "name": str(field(tool, "name") or field(tool, "type"))}
        for tool in listed(body.get("tools"))
    ]
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: _parts(body.get("system_instruction")),
        A.GEN_AI_INPUT_MESSAGES: messages if given is not None else None,
        A.GEN_AI_TOOL_DEFINITIONS: tools,
    }


def read_output(answer: Any) -> Content:
    """Return one message of all steps; before there were any, an answer had outputs."""
    parts: list[Any] = []
    for step in listed(first(answer, "steps", "outputs")):
        parts += [_part(step)] if field(step, "type") in {"text", *_MEDIA} else _step_parts(step)
    status = field(answer, "status")
    ended = _FINISH.get(status, "error") if isinstance(status, str) else "error"
    message = {"role": "assistant", "parts": parts, "finish_reason": ended}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if parts else None}


def most_tool_calls(body: Body) -> Mapping[str, float]:
    """Return a search for each tool that grounds answers: how many the model makes is not limited."""
    kinds = (field(tool, "type") for tool in listed(body.get("tools")))
    return {_SEARCHES[kind]: 1.0 for kind in kinds if kind in _SEARCHES}


INTERACTIONS = Operation(
    name=S.GENERATE_CONTENT,
    api="interactions",
    fields={
        "model": (A.GEN_AI_REQUEST_MODEL, text),
        "agent": (A.GEN_AI_REQUEST_MODEL, text),  # by which it is priced
        "previous_interaction_id": (A.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, text),
    },
    nested={
        "generation_config.max_output_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "generation_config.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "generation_config.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "generation_config.seed": (A.GEN_AI_REQUEST_SEED, integer),
        "generation_config.stop_sequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        "generation_config.thinking_level": (A.GEN_AI_REQUEST_REASONING_LEVEL, text),
    },
    request=read_request,
    response=read_response,
    accumulate=InteractionEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("generation_config.max_output_tokens",),
    tools=most_tool_calls,
    unfinished=unfinished,
)

FETCHED_INTERACTION = Operation(
    name=S.FETCH_RESPONSE,
    api="interactions",
    response=read_fetched,
    accumulate=InteractionEvents,
    output=read_output,
    priced=False,
    target=lambda attributes: None,
    finishes=finished,
)

_PATH = re.compile(r"(?:.*/)?interactions(?P<one>/[^/?]+)?(?P<cancel>/cancel)?(?:\?.*)?$")


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint."""
    found = _PATH.match(path)
    if found is None:
        return None
    if found["one"] is None:
        return INTERACTIONS if method == "post" else None
    return FETCHED_INTERACTION if method == "get" or (method == "post" and found["cancel"] is not None) else None
