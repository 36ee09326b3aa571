"""The Messages API: created, streamed, parsed, run with tools, and counted beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import (
    Blob,
    file_part,
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
    Operation,
    integer,
    listed,
    number,
    strings,
    text,
    write_texts,
)
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .anthropic_messages_stream import MessageEvents

_FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_call"}


def read_request(body: Body, attributes: Attributes) -> None:
    """Read the request's other fields."""
    config = body.get("output_config")
    if isinstance(config, Mapping):
        if isinstance(config.get("effort"), str):
            attributes[A.GEN_AI_REQUEST_REASONING_LEVEL] = config["effort"]
        if config.get("format") is not None:
            attributes[A.GEN_AI_OUTPUT_TYPE] = "json"
    if isinstance(body.get("output_format"), Mapping):
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"
    if any(_compacted(field(message, "content")) for message in listed(body.get("messages"))):
        attributes[A.GEN_AI_CONVERSATION_COMPACTED] = True


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model and why it stopped."""
    write_texts(answer, (("id", A.GEN_AI_RESPONSE_ID), ("model", A.GEN_AI_RESPONSE_MODEL)), attributes)
    reason = field(answer, "stop_reason")
    if isinstance(reason, str):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)
    if _compacted(field(answer, "content")):
        attributes[A.GEN_AI_CONVERSATION_COMPACTED] = True


def _compacted(content: Any) -> bool:
    """Return whether a block of compaction stands for what was said before it.

    https://docs.anthropic.com/en/docs/build-with-claude/compaction
    """
    return any(field(block, "type") == "compaction" for block in listed(content))


def _source(kind: str, block: Mapping[str, Any]) -> Any:
    modality = "image" if kind == "image" else "document"
    source = block.get("source")
    if not isinstance(source, Mapping):
        return generic_part(block)
    if source.get("type") == "base64":
        return Blob(modality, source.get("media_type"), str(source.get("data", "")))
    if source.get("type") == "url":
        return media_part(modality, source.get("url"))
    if source.get("type") == "file":
        return file_part(modality, str(source.get("file_id") or ""))
    if isinstance(source.get("data"), str):
        return text_part(source["data"])
    return generic_part(block)


def part(block: Any) -> Any:
    """One block of a message's content, as the application sends it."""
    if isinstance(block, str):
        return text_part(block)
    if not isinstance(block, Mapping):
        return output_part(block)
    kind = block.get("type")
    if kind == "text":
        return text_part(block.get("text", ""))
    if kind == "thinking":
        return reasoning_part(block.get("thinking", ""))
    if kind == "tool_use":
        return tool_call_part(block.get("name"), block.get("input"), block.get("id"))
    if kind == "tool_result":
        return tool_response_part(block.get("content"), block.get("tool_use_id"))
    if kind in ("image", "document"):
        return _source(kind, block)
    return generic_part(block)


def output_part(block: Any) -> Any:
    """One block of a message's content, as the model gives it."""
    kind = field(block, "type")
    if kind == "text":
        return text_part(field(block, "text") or "")
    if kind == "thinking":
        return reasoning_part(field(block, "thinking") or "")
    if kind == "tool_use":
        return tool_call_part(field(block, "name"), field(block, "input"), field(block, "id"))
    if kind == "server_tool_use":
        called = {"type": field(block, "name") or "server_tool", "input": field(block, "input")}
        return {
            "type": "server_tool_call",
            "id": field(block, "id"),
            "name": called["type"],
            "server_tool_call": called,
        }
    if isinstance(kind, str) and kind.endswith("_tool_result"):
        answered = {"type": kind, "content": field(block, "content")}
        return {
            "type": "server_tool_call_response",
            "id": field(block, "tool_use_id"),
            "server_tool_call_response": answered,
        }
    return generic_part(block)


def parts(content: Any) -> list[Any]:
    """Return a message's content as parts."""
    if isinstance(content, (list, tuple)):
        return [part(block) for block in content]
    return [] if content is None else [part(content)]


def read_input(body: Body) -> Content:
    """Return the system prompt, messages and tools of a request."""
    messages = [
        {"role": str(message.get("role", "user")), "parts": parts(message.get("content"))}
        for message in listed(body.get("messages"))
        if isinstance(message, Mapping)
    ]
    tools = [
        {"type": str(tool.get("type") or "function"), "name": str(tool.get("name") or "")}
        for tool in listed(body.get("tools"))
        if isinstance(tool, Mapping)
    ]
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: parts(body.get("system")),
        A.GEN_AI_INPUT_MESSAGES: messages,
        A.GEN_AI_TOOL_DEFINITIONS: tools,
    }


def read_output(answer: Any) -> Content:
    """Return the message that was generated."""
    content = field(answer, "content")
    if not isinstance(content, (list, tuple)):
        return {}
    reason = field(answer, "stop_reason")
    message = {
        "role": "assistant",
        "parts": [output_part(block) for block in content],
        "finish_reason": _FINISH.get(reason, reason) if isinstance(reason, str) else "error",
    }
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


def most_tool_calls(body: Body) -> Mapping[str, float]:
    """Return the billed calls of server tools that a request allows: searches, one where it sets no `max_uses`."""
    searches = 0.0
    for tool in listed(body.get("tools")):
        if str(field(tool, "type")).startswith("web_search"):
            searches += integer(field(tool, "max_uses")) or 1
    return {"web_search": searches} if searches else {}


MESSAGES = Operation(
    name=S.CHAT,
    api="messages",
    fields={
        "model": (A.GEN_AI_REQUEST_MODEL, text),
        "max_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "stop_sequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    },
    request=read_request,
    response=read_response,
    accumulate=MessageEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("max_tokens",),
    tools=most_tool_calls,
)

COUNT_TOKENS = Operation(
    name=S.COUNT_TOKENS, api="count_tokens", fields={"model": (A.GEN_AI_REQUEST_MODEL, text)}, priced=False
)
