"""Chat completions, and the completions they replaced."""

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
from genledger.engine.operation import Attributes, Body, Content, Operation, listed
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat_stream import Chunks
from .openai_fields import SAMPLING, output_type, read_answer, read_sampling, tool_calls


def read_request(body: Body, attributes: Attributes) -> None:
    """Read the request's other fields."""
    read_sampling(body, attributes)
    form = body.get("response_format")
    if isinstance(form, Mapping):
        output_type(form.get("type"), attributes)
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        attributes[A.GEN_AI_REQUEST_REASONING_LEVEL] = reasoning["effort"]


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model and how each choice ended."""
    read_answer(answer, attributes)
    reasons = []
    for choice in listed(field(answer, "choices")):
        reason = field(choice, "finish_reason")
        reasons.append(reason if isinstance(reason, str) else "error")
    if reasons:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(reasons)


_ROLES = {"developer": "system", "function": "tool"}


def part(item: Any) -> Any:
    """One item of a message's content."""
    if isinstance(item, str):
        return text_part(item)
    if not isinstance(item, Mapping):
        return generic_part(item)
    kind = item.get("type")
    if kind in ("text", "input_text", "output_text", "refusal"):
        return text_part(item.get("text", item.get("refusal", "")))
    if kind in ("image_url", "input_image"):
        image = item.get("image_url")
        if image is None and item.get("file_id"):
            return file_part("image", item["file_id"])
        return media_part("image", image.get("url") if isinstance(image, Mapping) else image)
    if kind == "thinking":
        return reasoning_part(
            "".join(said for one in listed(item[kind]) if isinstance(said := field(one, "text"), str))
        )
    if kind == "document_url":
        return media_part("document", item.get("document_url"))
    if kind == "input_audio":
        audio = item.get("input_audio")
        if isinstance(audio, Mapping):
            return Blob("audio", f"audio/{audio.get('format', 'wav')}", str(audio.get("data", "")))
        if isinstance(audio, str):  # Mistral's
            return media_part("audio", audio) if audio.startswith(("https:", "data:")) else Blob("audio", None, audio)
    if kind in ("file", "input_file"):
        file = item.get("file") if kind == "file" else item
        if isinstance(file, Mapping):
            if file.get("file_data"):
                return media_part("document", file["file_data"], "application/pdf")
            if file.get("file_url"):
                return media_part("document", file["file_url"])
            return file_part("document", str(file.get("file_id") or ""))
    return generic_part(item)


def parts(content: Any) -> list[Any]:
    """Return a message's content as parts."""
    if content is None:
        return []
    if isinstance(content, (list, tuple)):
        return [part(item) for item in content]
    return [part(content)]


def read_input(body: Body) -> Content:
    """Return the messages and tools of a request."""
    messages = []
    for message in listed(body.get("messages")):
        if not isinstance(message, Mapping):
            continue
        role = str(message.get("role", "user"))
        if role in ("tool", "function"):
            content = [tool_response_part(message.get("content"), message.get("tool_call_id"))]
        else:
            content = parts(message.get("content"))
            for call in tool_calls(message):
                if isinstance(call, Mapping) and isinstance(function := call.get("function"), Mapping):
                    content.append(tool_call_part(function.get("name"), function.get("arguments"), call.get("id")))
        converted = {"role": _ROLES.get(role, role), "parts": content}
        if isinstance(message.get("name"), str):
            converted["name"] = message["name"]
        messages.append(converted)
    return {A.GEN_AI_INPUT_MESSAGES: messages, A.GEN_AI_TOOL_DEFINITIONS: read_tools(body)}


def read_tools(body: Body) -> list[Any] | None:
    """Return the tools of a request; what they do is left out, as the conventions recommend."""
    tools = []
    for tool in listed(body.get("tools")):
        if isinstance(tool, Mapping):
            function = tool.get("function")
            named = function if isinstance(function, Mapping) else tool
            kind = str(tool.get("type", "function"))
            tools.append({"type": kind, "name": str(named.get("name") or kind)})
    return tools or None


def read_output(answer: Any) -> Content:
    """One message for each choice."""
    messages = []
    for choice in listed(field(answer, "choices")):
        message = field(choice, "message")
        content: list[Any] = []
        reasoning = field(message, "reasoning_content") or field(message, "reasoning")
        if isinstance(reasoning, str):
            content.append(reasoning_part(reasoning))
        spoken = field(message, "content") if message is not None else field(choice, "text")
        content += [text_part(spoken)] if isinstance(spoken, str) else parts(spoken)
        refusal = field(message, "refusal")
        if isinstance(refusal, str):
            content.append(text_part(refusal))
        for call in tool_calls(message):
            function = field(call, "function") or field(call, "custom")
            arguments = field(function, "arguments") or field(function, "input")
            content.append(tool_call_part(field(function, "name"), arguments, field(call, "id")))
        audio = field(message, "audio")
        if isinstance(data := field(audio, "data"), str):
            content.append(Blob("audio", None, data))
        reason = field(choice, "finish_reason")
        messages.append(
            {
                "role": "assistant",
                "parts": content,
                "finish_reason": "tool_call" if reason in ("tool_calls", "function_call") else reason or "error",
            }
        )
    return {A.GEN_AI_OUTPUT_MESSAGES: messages}


def _prompt(body: Body) -> Content:
    prompt = body.get("prompt")
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts(prompt)}] if prompt is not None else None}


CHAT = Operation(
    name=S.CHAT,
    api="chat",
    fields=SAMPLING,
    request=read_request,
    response=read_response,
    accumulate=Chunks,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("max_completion_tokens", "max_tokens"),
    choices=("n",),
)

COMPLETIONS = Operation(
    name=S.TEXT_COMPLETION,
    api="completions",
    fields=SAMPLING,
    request=read_sampling,
    response=read_response,
    accumulate=Chunks,
    input=_prompt,
    output=read_output,
    family="inference",
    limit=("max_tokens",),
    choices=("n", "best_of", "prompt"),
)


def ask_for_usage(operation: Operation, body: Body) -> Mapping[str, Any] | None:
    """What makes a chat or completions stream end with its usage."""
    if operation.accumulate is not Chunks:
        return None
    options = body.get("stream_options")
    options = options if isinstance(options, Mapping) else {}
    if options.get("include_usage"):
        return None
    return {"stream_options": {**options, "include_usage": True}}


def only_usage(chunk: Any) -> bool:
    """Return whether a chunk has usage and nothing else: the one that comes because usage was asked for."""
    return not chunk.choices and field(chunk, "usage") is not None
