"""Messages of the GenAI conventions in OpenAI's chat shape, the one that Langfuse's pages read in full.

Conventions: https://github.com/open-telemetry/semantic-conventions-genai. OpenAI's shape:
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.destinations.langfuse.json_text import to_json


def chat_messages(messages: Any, instructions: Any = None) -> Any:
    """Return messages in OpenAI's chat shape. A value of another shape is returned unchanged.

    Args:
        messages: As parsed from `gen_ai.input.messages` or `gen_ai.output.messages`.
        instructions: As parsed from `gen_ai.system_instructions`; they become the first message, unless there is a
            system message already.
    """
    if not isinstance(messages, list):
        return messages
    chat = [converted for message in messages for converted in _converted(message)]
    if instructions is not None and not any(_role(message) == "system" for message in chat):
        parts = instructions if isinstance(instructions, list) else [instructions]
        chat.insert(0, {"role": "system", "content": _joined([_content(part) for part in parts])})
    return chat


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _converted(message: Any) -> list[Any]:
    """Return one message as one or more: OpenAI's has a message for each result of a tool."""
    parts = message.get("parts") if isinstance(message, Mapping) else None
    if not isinstance(parts, list):
        return [message]
    results: list[Any] = []
    content: list[Any] = []
    calls: list[Any] = []
    reasoning: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "tool_call_response":
            results.append(
                {"role": "tool", "tool_call_id": part.get("id") or "", "content": _text(part.get("response"))}
            )
        elif kind == "tool_call":
            function = {"name": part.get("name") or "", "arguments": _text(part.get("arguments"))}
            calls.append({"id": part.get("id") or "", "type": "function", "function": function})
        elif kind == "reasoning":
            reasoning.append(_text(part.get("content")))
        else:
            content.append(_content(part))
    if results and not (content or calls or reasoning):
        return results
    said: dict[str, Any] = {"role": message.get("role"), "content": _joined(content)}
    if isinstance(message.get("name"), str):
        said["name"] = message["name"]
    if reasoning:
        said["reasoning_content"] = "\n".join(reasoning)
    if calls:
        said["content"] = said["content"] or None
        said["tool_calls"] = calls
    return [*results, said]


def _joined(content: list[Any]) -> Any:
    """Return one text as itself, and anything else as OpenAI's list of parts."""
    if not content:
        return ""
    return content[0]["text"] if len(content) == 1 and content[0].get("type") == "text" else content


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else to_json(value)


def _content(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        return {"type": "text", "text": _text(part)}
    kind, modality, mime = part.get("type"), part.get("modality"), part.get("mime_type")
    if kind == "text":
        return {"type": "text", "text": _text(part.get("content"))}
    if kind == "blob":
        data = str(part.get("content"))
        if modality == "audio":
            return {"type": "input_audio", "input_audio": {"data": data, "format": str(mime or "wav").split("/")[-1]}}
        return _media(modality, f"data:{mime or 'application/octet-stream'};base64,{data}", "file_data")
    if kind == "uri":
        uri = str(part.get("uri"))
        if uri.startswith("sha256:"):
            described = [str(mime or modality or "media"), f"{part.get('size')} bytes", uri]
            return {"type": "text", "text": f"[{', '.join(described)}]"}
        return _media(modality, uri, "file_url")
    if kind == "file":
        return {"type": "file", "file": {"file_id": part.get("file_id")}}
    return dict(part)


def _media(modality: Any, url: str, field: str) -> dict[str, Any]:
    if modality == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {field: url}}
