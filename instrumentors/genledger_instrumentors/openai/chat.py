"""Chat completions, and the completions they replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from genledger.calls.operation import Attributes, Body, Content, Operation, text
from genledger.pricing.fields import field
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
        self.tools: dict[Any, dict[str, Any]] = {}
        self.length = 0
        self.finish_reason: str | None = None


class Chunks:
    """Puts the chunks of a chat stream together; keeps the text only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._single = not keep and body.get("n") in (None, 1)
        self._choices: dict[int, _Choice] = {}
        self._head: Any = None
        self._tier: Any = None
        self._usage: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks, typed or plain; one that is malformed is passed over."""
        choices = self._choices
        for chunk in chunks:
            try:
                fields = chunk if type(chunk) is dict else chunk.__dict__
                parts = fields["choices"]
                for part in parts:
                    its = part if type(part) is dict else part.__dict__
                    choice = choices.get(its["index"])
                    if choice is None:
                        choice = choices[its["index"]] = _Choice()
                        self._begin(chunk, fields)
                    delta = its.get("delta")
                    if delta is None:
                        content = its.get("text")
                    else:
                        content = (delta if type(delta) is dict else delta.__dict__).get("content")
                    if content:
                        choice.length += len(content)
                        if self._keep:
                            choice.pieces.append(content)
                    elif delta is not None:
                        self._rest(choice, delta)
                    if its.get("finish_reason") is not None:
                        choice.finish_reason = its["finish_reason"]
                        self._end(chunk, fields)
                if not parts or fields.get("usage") is not None:
                    self._begin(chunk, fields)
                    self._end(chunk, fields)
            except (AttributeError, KeyError, TypeError):
                continue

    def skim(self, chunks: Sequence[Any], *, last: bool) -> bool:
        """A single choice whose text is not wanted: its first chunk, its length, and its last ones."""
        if not self._single:
            return False
        first = not self._choices
        middle = chunks[first : -3 if last else None]
        try:
            length = sum([len(chunk.__dict__["choices"][0].__dict__["delta"].__dict__["content"]) for chunk in middle])
        except (AttributeError, IndexError, KeyError, TypeError):
            return False
        if first:
            self.fold(chunks[:1])
        if 0 not in self._choices:
            return False
        self._choices[0].length += length
        if last:
            self.fold(chunks[-3:] if len(chunks) > 3 + first else chunks[first:])
        return True

    def _begin(self, chunk: Any, fields: Mapping[str, Any]) -> None:
        # Azure sends a first chunk with filter results only, without id and model.
        if self._head is None and fields.get("id"):
            self._head = chunk

    def _end(self, chunk: Any, fields: Mapping[str, Any]) -> None:
        usage = field(chunk, "usage")
        if usage is None:
            usage = field(field(chunk, "x_groq"), "usage")
        if usage is not None:
            self._usage = usage
        if fields.get("service_tier") is not None:
            self._tier = fields["service_tier"]

    def _rest(self, choice: _Choice, delta: Any) -> None:
        for name, pieces in (
            ("reasoning_content", choice.reasoning),
            ("reasoning", choice.reasoning),
            ("refusal", choice.refusal),
        ):
            piece = field(delta, name)
            if isinstance(piece, str):
                choice.length += len(piece)
                if self._keep:
                    pieces.append(piece)
                break
        for call in listed(field(delta, "tool_calls")):
            function = field(call, "function")
            name = text(field(function, "name")) or ""
            arguments = text(field(function, "arguments")) or ""
            choice.length += len(name) + len(arguments)
            if self._keep:
                tool = choice.tools.setdefault(field(call, "index"), {"id": None, "name": "", "arguments": []})
                tool["id"] = field(call, "id") or tool["id"]
                tool["name"] += name
                tool["arguments"].append(arguments)

    def response(self) -> Mapping[str, Any]:
        """What has been received, shaped like a chat completion."""
        head = self._head
        return {
            "id": field(head, "id"),
            "model": field(head, "model"),
            "service_tier": self._tier,
            "system_fingerprint": field(head, "system_fingerprint"),
            "usage": self._usage,
            "choices": [self._choice(choice) for _, choice in sorted(self._choices.items(), key=_place)],
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
                    for tool in choice.tools.values()
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


def _place(item: tuple[Any, _Choice]) -> int:
    return item[0] if isinstance(item[0], int) else 0


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
        reasoning = field(message, "reasoning_content") or field(message, "reasoning")
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
