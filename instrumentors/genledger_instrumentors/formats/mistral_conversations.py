"""Mistral's conversations, of a model or of an agent that Mistral hosts. https://docs.mistral.ai/agents/agents"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import generic_part, text_part, tool_call_part, tool_response_part
from genledger.engine.operation import Attributes, Body, Content, Operation, listed, number, strings, text
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import parts, read_tools

_CALL, _SAID = "function.call", "message.output"


class ConversationEvents:
    """Puts the events of a conversation together; the last one has the usage."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._id: Any = None
        self._model: Any = None
        self._pieces: list[str] = []
        self._calls: dict[str, dict[str, Any]] = {}
        self._length = 0
        self._usage: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            self._id = field(event, "conversation_id") or self._id
            self._model = field(event, "model") or self._model
            self._usage = field(event, "usage") or self._usage
            kind = field(event, "type")
            if kind == "message.output.delta":
                content = field(event, "content")
                said = text(content) or text(field(content, "text")) or ""
                self._length += length_of(said)
                if self._keep:
                    self._pieces.append(said)
            elif kind == "function.call.delta":
                name = str(field(event, "tool_call_id"))
                call = self._calls.setdefault(
                    name, {"type": _CALL, "tool_call_id": name, "name": field(event, "name"), "arguments": ""}
                )
                call["arguments"] += text(field(event, "arguments")) or ""

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        said = {"type": _SAID, "model": self._model, "content": "".join(self._pieces)}
        return {"conversation_id": self._id, "outputs": [said, *self._calls.values()], "usage": self._usage}

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the usage has come."""
        return self._usage is not None

    @property
    def complete(self) -> bool:
        """Return whether the event has come that ends the answer."""
        return self._usage is not None


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read which conversation it is, which model answered, and whether it asks for a tool."""
    outputs = listed(field(answer, "outputs"))
    conversation = text(field(answer, "conversation_id"))
    if conversation is not None:
        attributes[A.GEN_AI_CONVERSATION_ID] = conversation
    model = next((model for one in outputs if (model := text(field(one, "model"))) is not None), None)
    if model is not None:
        attributes[A.GEN_AI_RESPONSE_MODEL] = model
    acts = any(field(one, "type") == _CALL for one in outputs)
    attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("tool_call" if acts else "stop",)


def read_input(body: Body) -> Content:
    """Return the instructions, the entries and the tools of a request."""
    given, instructions = body.get("inputs"), text(body.get("instructions"))
    messages: list[Any] = [{"role": "user", "parts": [text_part(given)]}] if isinstance(given, str) else []
    for entry in listed(given):
        if field(entry, "type") == "function.result":
            part = tool_response_part(field(entry, "result"), field(entry, "tool_call_id"))
            messages.append({"role": "tool", "parts": [part]})
        else:
            messages.append({"role": str(field(entry, "role") or "user"), "parts": parts(field(entry, "content"))})
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: [text_part(instructions)] if instructions is not None else None,
        A.GEN_AI_INPUT_MESSAGES: messages,
        A.GEN_AI_TOOL_DEFINITIONS: read_tools(body),
    }


def read_output(answer: Any) -> Content:
    """Return one message of everything that was generated."""
    content: list[Any] = []
    for one in listed(field(answer, "outputs")):
        kind = field(one, "type")
        if kind == _SAID:
            content += parts(field(one, "content"))
        elif kind == _CALL:
            content.append(tool_call_part(field(one, "name"), field(one, "arguments"), field(one, "tool_call_id")))
        else:
            content.append(generic_part(one))
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": content}] if content else None}


CONVERSATION = Operation(
    name=S.CHAT,
    api="conversations",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "completion_args.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "completion_args.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
        "completion_args.stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    },
    response=read_response,
    accumulate=ConversationEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("completion_args.max_tokens",),
    hidden_prompt=True,
)
"""A turn of a conversation: what was said before it is kept by Mistral, and read again."""
