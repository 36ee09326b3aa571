"""Contents of Gemini: what a prompt and a candidate are made of, as messages.

https://ai.google.dev/api/caching#Content. Clients write the fields' names in either of protobuf's two styles.
"""

from __future__ import annotations

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
from genledger.engine.operation import listed
from genledger.pricing.getters import field, first, label

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "MALFORMED_FUNCTION_CALL": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "OTHER": "error",
}
"""Reasons why a candidate ended that are not a filter's, in the conventions' words."""

_ROLES = {"model": "assistant", "function": "tool"}


def _modality(mime: Any) -> str:
    kind = str(mime or "").partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "document"


def _media(given: Any) -> Any:
    mime = first(given, "mimeType", "mime_type")
    mime = mime if isinstance(mime, str) else None
    address = first(given, "fileUri", "file_uri")
    if address is not None:
        return media_part(_modality(mime), address, mime)
    return Blob(_modality(mime), mime, str(field(given, "data") or ""))


def _server_tool(part: Any) -> Any:
    """Return a step of a tool that the provider ran, or its result."""
    for names in (("executableCode", "executable_code"), ("toolCall", "tool_call")):
        if (call := first(part, *names)) is not None:
            name = "code_execution" if names[0] == "executableCode" else label(call, "toolType") or "server_tool"
            return {
                "type": "server_tool_call",
                "id": field(call, "id"),
                "name": name,
                "server_tool_call": {**_fields(call), "type": name},
            }
    for names in (("codeExecutionResult", "code_execution_result"), ("toolResponse", "tool_response")):
        if (result := first(part, *names)) is not None:
            kind = "code_execution" if names[0] == "codeExecutionResult" else label(result, "toolType") or "server_tool"
            return {
                "type": "server_tool_call_response",
                "id": field(result, "id"),
                "server_tool_call_response": {**_fields(result), "type": kind},
            }
    return None


def _fields(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def read_part(part: Any) -> Any:
    """Return one part of a content."""
    if isinstance(part, str):
        return text_part(part)
    said = field(part, "text")
    if isinstance(said, str):
        return reasoning_part(said) if field(part, "thought") is True else text_part(said)
    call = first(part, "functionCall", "function_call")
    if call is not None:
        return tool_call_part(field(call, "name"), field(call, "args"), field(call, "id"))
    answer = first(part, "functionResponse", "function_response")
    if answer is not None:
        return tool_response_part(field(answer, "response"), field(answer, "id"))
    media = first(part, "inlineData", "inline_data", "fileData", "file_data")
    if media is not None:
        return _media(media)
    return _server_tool(part) or generic_part(part)


def _said_something(part: Any) -> bool:
    """Return whether a part is more than a signature of thoughts."""
    names = set(part) - {"thought", "thoughtSignature", "thought_signature"} if isinstance(part, Mapping) else {""}
    return bool(names) and part != {"text": ""}


def read_parts(content: Any) -> list[Any]:
    """Return the parts of a content, which a client may give as one of them."""
    if isinstance(content, str):
        return [text_part(content)]
    parts = field(content, "parts")
    parts = [parts] if isinstance(parts, Mapping) else listed(parts)
    return [read_part(part) for part in parts if _said_something(part)]


def read_message(content: Any) -> dict[str, Any]:
    """Return a content of the prompt as a message; one that has nothing but tools' answers is theirs."""
    parts = read_parts(content)
    role = label(content, "role") or "user"
    answers = bool(parts) and all(isinstance(part, dict) and part["type"] == "tool_call_response" for part in parts)
    return {"role": "tool" if answers else _ROLES.get(role, role), "parts": parts}


def read_candidate(candidate: Any) -> dict[str, Any]:
    """Return an answer as a message."""
    parts = read_parts(field(candidate, "content"))
    reason = label(candidate, "finishReason", "finish_reason")
    ended = "error" if reason is None else FINISH.get(reason, "content_filter")
    if ended == "stop" and any(isinstance(part, dict) and part["type"] == "tool_call" for part in parts):
        ended = "tool_call"
    return {"role": "assistant", "parts": parts, "finish_reason": ended}


def read_tools(given: Any) -> list[Any]:
    """Return the tools of a request: functions by their names, the provider's own by theirs."""
    tools = []
    for tool in listed(given):
        for kind, value in _fields(tool).items():
            if kind in ("functionDeclarations", "function_declarations"):
                names = (field(one, "name") for one in listed(value))
                tools += [{"type": "function", "name": str(name)} for name in names]
            elif value is not None:
                tools.append({"type": kind, "name": kind})
    return tools
