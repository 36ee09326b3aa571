"""Chat completions, and the completions they replaced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genledger.calls.content import (
    Blob,
    file_part,
    generic_part,
    media_part,
    reasoning_part,
    text_part,
    tool_call_part,
    tool_response_part,
)
from genledger.calls.operation import Attributes, Body, Content, Operation
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .fields import SAMPLING, listed, output_type, read_answer, read_sampling


def read_request(body: Body, attributes: Attributes) -> None:
    """What a request says beyond its plain fields."""
    read_sampling(body, attributes)
    form = body.get("response_format")
    if isinstance(form, Mapping):
        output_type(form.get("type"), attributes)
    reasoning = body.get("reasoning")
    if isinstance(reasoning, Mapping) and isinstance(reasoning.get("effort"), str):
        attributes[A.GEN_AI_REQUEST_REASONING_LEVEL] = reasoning["effort"]


def read_response(answer: Any, attributes: Attributes) -> None:
    """Who answered, and how each choice ended."""
    read_answer(answer, attributes)
    reasons = [getattr(choice, "finish_reason", None) for choice in listed(getattr(answer, "choices", None))]
    if reasons:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = tuple(
            reason if isinstance(reason, str) else "error" for reason in reasons
        )


class _Choice:
    __slots__ = ("finish_reason", "length", "pieces", "reasoning", "refusal", "role", "tools")

    def __init__(self) -> None:
        self.role = "assistant"
        self.pieces: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tools: dict[int, dict[str, Any]] = {}
        self.length = 0
        self.finish_reason: str | None = None


class Chunks:
    """Puts the chunks of a chat stream together; keeps the text only when content is captured."""

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._choices: dict[int, _Choice] = {}
        self._head: Any = None
        self._model: Any = None
        self._tier: Any = None
        self._usage: Any = None

    def fold(self, chunks: Iterable[Any]) -> None:
        """Take in more chunks."""
        choices = self._choices
        for chunk in chunks:
            # Azure sends a first chunk with filter results only, without id and model.
            if self._head is None and getattr(chunk, "id", None):
                self._head = chunk
            usage = getattr(chunk, "usage", None) or _groq_usage(chunk)
            if usage is not None:
                self._usage = usage
            tier = getattr(chunk, "service_tier", None)
            if tier is not None:
                self._tier = tier
            for part in chunk.choices or ():
                index = getattr(part, "index", 0)
                choice = choices.get(index)
                if choice is None:
                    choice = choices[index] = _Choice()
                if part.finish_reason is not None:
                    choice.finish_reason = part.finish_reason
                delta = getattr(part, "delta", None)
                if delta is not None:
                    content = delta.content
                    if content:
                        choice.length += len(content)
                        if self._keep:
                            choice.pieces.append(content)
                    else:
                        self._rest(choice, delta)
                elif isinstance(text := getattr(part, "text", None), str):
                    choice.length += len(text)
                    if self._keep:
                        choice.pieces.append(text)

    def _rest(self, choice: _Choice, delta: Any) -> None:
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if isinstance(reasoning, str):
            choice.length += len(reasoning)
            if self._keep:
                choice.reasoning.append(reasoning)
        refusal = getattr(delta, "refusal", None)
        if isinstance(refusal, str):
            choice.length += len(refusal)
            if self._keep:
                choice.refusal.append(refusal)
        for call in getattr(delta, "tool_calls", None) or ():
            function = getattr(call, "function", None)
            name = getattr(function, "name", None)
            arguments = getattr(function, "arguments", None)
            choice.length += len(name or "") + len(arguments or "")
            if self._keep:
                index = getattr(call, "index", 0)
                tool = choice.tools.setdefault(index, {"id": None, "name": "", "arguments": []})
                tool["id"] = getattr(call, "id", None) or tool["id"]
                tool["name"] += name or ""
                tool["arguments"].append(arguments or "")

    def response(self) -> Mapping[str, Any]:
        """What has been received, shaped like a chat completion."""
        head = self._head
        return {
            "id": getattr(head, "id", None),
            "model": getattr(head, "model", None),
            "service_tier": self._tier,
            "system_fingerprint": getattr(head, "system_fingerprint", None),
            "usage": self._usage,
            "choices": [self._choice(choice) for _, choice in sorted(self._choices.items())],
        }

    def _choice(self, choice: _Choice) -> dict[str, Any]:
        return {
            "finish_reason": choice.finish_reason,
            "text": "".join(choice.pieces),
            "message": {
                "role": choice.role,
                "content": "".join(choice.pieces) or None,
                "reasoning_content": "".join(choice.reasoning) or None,
                "refusal": "".join(choice.refusal) or None,
                "tool_calls": [
                    {
                        "id": tool["id"],
                        "function": {"name": tool["name"], "arguments": "".join(tool["arguments"])},
                    }
                    for _, tool in sorted(choice.tools.items())
                ],
            },
        }

    def text_length(self) -> int:
        """Characters generated so far, in every choice."""
        return sum(choice.length for choice in self._choices.values())

    @property
    def complete(self) -> bool:
        """Whether every choice that began has ended."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())


def _groq_usage(chunk: Any) -> Any:
    extension = getattr(chunk, "x_groq", None)
    return extension.get("usage") if isinstance(extension, dict) else getattr(extension, "usage", None)


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
    if kind == "input_audio":
        audio = item.get("input_audio")
        if isinstance(audio, Mapping):
            return Blob("audio", f"audio/{audio.get('format', 'wav')}", str(audio.get("data", "")))
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
    """A message's content as parts."""
    if content is None:
        return []
    if isinstance(content, (list, tuple)):
        return [part(item) for item in content]
    return [part(content)]


def read_input(body: Body) -> Content:
    """The messages and tools of a request."""
    messages = []
    for message in listed(body.get("messages")):
        if not isinstance(message, Mapping):
            continue
        role = str(message.get("role", "user"))
        if role in ("tool", "function"):
            content = [tool_response_part(message.get("content"), message.get("tool_call_id"))]
        else:
            content = parts(message.get("content"))
            for call in listed(message.get("tool_calls")):
                if isinstance(call, Mapping) and isinstance(function := call.get("function"), Mapping):
                    content.append(tool_call_part(function.get("name"), function.get("arguments"), call.get("id")))
        converted = {"role": _ROLES.get(role, role), "parts": content}
        if isinstance(message.get("name"), str):
            converted["name"] = message["name"]
        messages.append(converted)
    return {A.GEN_AI_INPUT_MESSAGES: messages, A.GEN_AI_TOOL_DEFINITIONS: read_tools(body)}


def read_tools(body: Body) -> list[Any] | None:
    """The tools of a request; what they do is left out, as the conventions recommend."""
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
    for choice in listed(getattr(answer, "choices", None)):
        message = getattr(choice, "message", None)
        content: list[Any] = []
        reasoning = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        if isinstance(reasoning, str):
            content.append(reasoning_part(reasoning))
        spoken = getattr(message, "content", None) if message is not None else getattr(choice, "text", None)
        content += [text_part(spoken)] if isinstance(spoken, str) else parts(spoken)
        refusal = getattr(message, "refusal", None)
        if isinstance(refusal, str):
            content.append(text_part(refusal))
        for call in listed(getattr(message, "tool_calls", None)):
            function = getattr(call, "function", None) or getattr(call, "custom", None)
            arguments = getattr(function, "arguments", None) or getattr(function, "input", None)
            content.append(tool_call_part(getattr(function, "name", None), arguments, getattr(call, "id", None)))
        audio = getattr(message, "audio", None)
        if isinstance(data := getattr(audio, "data", None), str):
            content.append(Blob("audio", None, data))
        reason = getattr(choice, "finish_reason", None)
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
    gather=Chunks,
    input=read_input,
    output=read_output,
    constant={A.OPENAI_API_TYPE: "chat_completions"},
    family="inference",
    limit="max_completion_tokens",
)

COMPLETIONS = Operation(
    name=S.TEXT_COMPLETION,
    api="completions",
    fields=SAMPLING,
    request=read_sampling,
    response=read_response,
    gather=Chunks,
    input=_prompt,
    output=read_output,
    family="inference",
    limit="max_tokens",
)
