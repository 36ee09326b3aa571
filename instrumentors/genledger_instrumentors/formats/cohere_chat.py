"""Cohere's chat, of both versions of its API, and generate.

https://docs.cohere.com/v2/reference, https://docs.cohere.com/v1/reference. What is billed is in `billed_units`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import (
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
    Converter,
    Operation,
    integer,
    listed,
    number,
    strings,
    text,
)
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_fields import choice_count, output_type

_FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_call"}
_ROLES = {"user": "user", "chatbot": "assistant", "assistant": "assistant", "system": "system", "tool": "tool"}

_SAMPLING: Mapping[str, tuple[str, Converter]] = {
    "model": (A.GEN_AI_REQUEST_MODEL, text),
    "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
    "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
    "p": (A.GEN_AI_REQUEST_TOP_P, number),
    "k": (A.GEN_AI_REQUEST_TOP_K, integer),
    "seed": (A.GEN_AI_REQUEST_SEED, integer),
    "frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
    "presence_penalty": (A.GEN_AI_REQUEST_PRESENCE_PENALTY, number),
    "stop_sequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
}


def read_request(body: Body, attributes: Attributes) -> None:
    """Read what a request says beyond its plain fields."""
    output_type(path(body, "response_format", "type"), attributes)
    choice_count(body.get("num_generations"), attributes)


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read under which identifier an answer came, and why it ended; no answer names its model."""
    identifier = field(answer, "id") or field(answer, "generation_id")
    if isinstance(identifier, str) and identifier:
        attributes[A.GEN_AI_RESPONSE_ID] = identifier
    reasons = [field(one, "finish_reason") for one in listed(field(answer, "generations")) or (answer,)]
    if any(isinstance(reason, str) for reason in reasons):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(
            reason if isinstance(reason, str) else "error" for reason in reasons
        )


class CohereEvents:
    """Puts the events of a stream together, of either version; keeps the text only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._id: Any = None
        self._pieces: list[str] = []
        self._thoughts: list[str] = []
        self._plan: list[str] = []
        self._tools: list[dict[str, Any]] = []
        self._length = 0
        self._end: Any = None
        self._whole: Mapping[str, Any] | None = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events; one of a kind that is not known is passed over."""
        for event in chunks:
            kind = field(event, "type") or field(event, "event_type")
            message = path(event, "delta", "message")
            if kind == "content-delta":
                content = field(message, "content")
                self._add(self._pieces, field(content, "text"))
                self._add(self._thoughts, field(content, "thinking"))
            elif kind == "tool-plan-delta":
                self._add(self._plan, field(message, "tool_plan"))
            elif kind in ("tool-call-start", "tool-call-delta"):
                self._tool(field(message, "tool_calls"), starts=kind == "tool-call-start")
            elif kind == "message-start":
                self._id = field(event, "id")
            elif kind == "message-end":
                self._end = field(event, "delta") or {}
            elif kind == "stream-start":
                self._id = field(event, "generation_id")
            elif kind == "text-generation":
                self._add(self._pieces, field(event, "text"))
            elif kind == "stream-end":
                self._end = event
                whole = field(event, "response")
                if isinstance(whole, Mapping):
                    self._whole = {"finish_reason": field(event, "finish_reason"), **whole}

    def _add(self, pieces: list[str], piece: Any) -> None:
        if isinstance(piece, str):
            self._length += length_of(piece)
            if self._keep:
                pieces.append(piece)

    def _tool(self, call: Any, *, starts: bool) -> None:
        function = field(call, "function")
        if starts:
            self._tools.append({"id": field(call, "id"), "name": field(function, "name"), "arguments": []})
            self._length += length_of(str(field(function, "name") or ""))
        if self._tools:
            self._add(self._tools[-1]["arguments"], field(function, "arguments"))

    def response(self) -> Mapping[str, Any]:
        """Return what has been received, shaped like a whole answer."""
        if self._whole is not None:
            return self._whole
        content = [{"type": "thinking", "thinking": "".join(self._thoughts)}] if self._thoughts else []
        content += [{"type": "text", "text": "".join(self._pieces)}] if self._pieces else []
        calls = [
            {"id": tool["id"], "function": {"name": tool["name"], "arguments": "".join(tool["arguments"])}}
            for tool in self._tools
        ]
        message = {"content": content, "tool_plan": "".join(self._plan) or None, "tool_calls": calls}
        end = self._end
        return {
            "id": self._id,
            "finish_reason": field(end, "finish_reason"),
            "usage": field(end, "usage"),
            "message": message,
        }

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the provider has sent the billed units."""
        usage = field(self._end, "usage") if self._whole is None else field(self._whole, "meta")
        return field(usage, "billed_units") is not None

    @property
    def complete(self) -> bool:
        """Return whether the event that ends a stream has come."""
        return self._end is not None


def _part(item: Any) -> Any:
    if isinstance(item, str):
        return text_part(item)
    kind = field(item, "type")
    if kind == "text":
        return text_part(field(item, "text") or "")
    if kind == "thinking":
        return reasoning_part(field(item, "thinking") or "")
    if kind == "image_url":
        return media_part("image", path(item, "image_url", "url"))
    return generic_part(item)


def _parts(content: Any) -> list[Any]:
    return [_part(item) for item in ((content,) if isinstance(content, str) else listed(content))]


def _tool_calls(message: Any) -> list[Any]:
    """Return the tools that a message asks for: version 2 has functions, version 1 names and parameters."""
    found = []
    for call in listed(field(message, "tool_calls")):
        function = field(call, "function") or call
        arguments = field(function, "arguments") or field(function, "parameters")
        found.append(tool_call_part(field(function, "name"), arguments, field(call, "id")))
    return found


def read_input(body: Body) -> Content:
    """Read the messages and tools of a request."""
    messages = []
    for message in (*listed(body.get("chat_history")), *listed(body.get("messages"))):
        role = _ROLES.get(str(field(message, "role")).lower(), "user")
        content = field(message, "content") or field(message, "message")
        if role == "tool" and field(message, "tool_call_id") is not None:
            parts = [tool_response_part(content, field(message, "tool_call_id"))]
        else:
            plan = field(message, "tool_plan")
            parts = [*_parts(content), *([reasoning_part(plan)] if plan else ()), *_tool_calls(message)]
        messages.append({"role": role, "parts": parts})
    asked = body.get("message") or body.get("prompt") or body.get("text")
    if isinstance(asked, str):
        messages.append({"role": "user", "parts": [text_part(asked)]})
    tools = [
        {"type": "function", "name": str(path(tool, "function", "name") or field(tool, "name") or "")}
        for tool in listed(body.get("tools"))
    ]
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: _parts(body.get("preamble")) or None,
        A.GEN_AI_INPUT_MESSAGES: messages,
        A.GEN_AI_TOOL_DEFINITIONS: tools or None,
    }


def read_output(answer: Any) -> Content:
    """Read what was generated."""
    messages = []
    for one in listed(field(answer, "generations")) or (answer,):
        message = field(one, "message")
        plan = field(message, "tool_plan")
        content = [*([reasoning_part(plan)] if plan else ()), *_parts(field(message, "content"))]
        if message is None:
            content = _parts(field(one, "text") or field(one, "summary"))
        reason = field(one, "finish_reason")
        messages.append(
            {
                "role": "assistant",
                "parts": content + _tool_calls(one if message is None else message),
                "finish_reason": _FINISH.get(reason, "error") if isinstance(reason, str) else "error",
            }
        )
    return {A.GEN_AI_OUTPUT_MESSAGES: messages}


CHAT = Operation(
    name=S.CHAT,
    api="chat",
    fields=_SAMPLING,
    nested={"thinking.type": (A.GEN_AI_REQUEST_REASONING_LEVEL, text)},
    request=read_request,
    response=read_response,
    accumulate=CohereEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("max_tokens",),
)

GENERATE = CHAT._replace(name=S.TEXT_COMPLETION, api="generate", choices=("num_generations",))
SUMMARIZE = GENERATE._replace(accumulate=None, limit=(), choices=())
