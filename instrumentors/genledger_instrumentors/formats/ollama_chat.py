"""Ollama's own API: chat, generate and embed. https://github.com/ollama/ollama/blob/main/docs/api.md

A streamed answer comes in parts of the same shape; the last one, which is `done`, has the counts. Every field is
optional: a prompt that was in the cache is not counted by older servers, and thinking is counted with the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of, text_length
from genledger.engine.content.capture import Blob, reasoning_part, text_part, tool_call_part, tool_response_part
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
    write_texts,
)
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import read_tools

_COUNTS = ("prompt_eval_count", "eval_count")


def _limit(value: Any) -> int | None:
    """Return a limit of generated tokens; a negative one stands for none."""
    return value if type(value) is int and value > 0 else None


def read_request(body: Body, attributes: Attributes) -> None:
    """Read the request's other fields."""
    if body.get("format"):  # `json`, or a schema
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"
    effort = text(body.get("think"))
    if effort is not None:
        attributes[A.GEN_AI_REQUEST_REASONING_LEVEL] = effort


def read_response(answer: Any, attributes: Attributes) -> None:
    """Read the answering model and how the answer ended."""
    read_model(answer, attributes)
    reason = text(field(answer, "done_reason"))
    if reason is not None:
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)


def read_model(answer: Any, attributes: Attributes) -> None:
    """Read the answering model."""
    write_texts(answer, (("model", A.GEN_AI_RESPONSE_MODEL),), attributes)


def _images(holder: Any) -> list[Any]:
    return [Blob("image", None, image) for image in listed(field(holder, "images")) if isinstance(image, str)]


def _parts(message: Any) -> list[Any]:
    thinking, content = text(field(message, "thinking")), text(field(message, "content"))
    parts = [reasoning_part(thinking)] if thinking is not None else []
    parts += [text_part(content)] if content is not None else []
    parts += _images(message)
    for call in listed(field(message, "tool_calls")):
        function = field(call, "function")
        parts.append(tool_call_part(field(function, "name"), field(function, "arguments")))
    return parts


def read_messages(body: Body) -> Content:
    """Return the messages and tools of a request."""
    messages = []
    for message in listed(body.get("messages")):
        role = str(field(message, "role") or "user")
        said = [tool_response_part(field(message, "content"))] if role == "tool" else _parts(message)
        messages.append({"role": role, "parts": said})
    return {A.GEN_AI_INPUT_MESSAGES: messages, A.GEN_AI_TOOL_DEFINITIONS: read_tools(body)}


def read_prompt(body: Body) -> Content:
    """Return the prompt of a request, with what goes before it."""
    prompt, system = text(body.get("prompt")), text(body.get("system"))
    parts = [text_part(prompt)] if prompt is not None else []
    return {
        A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": parts + _images(body)}],
        A.GEN_AI_SYSTEM_INSTRUCTIONS: [text_part(system)] if system is not None else None,
    }


def read_message(answer: Any) -> Content:
    """Return the message of an answer."""
    return _said(answer, _parts(field(answer, "message")))


def read_completion(answer: Any) -> Content:
    """Return what was generated: text, or an image."""
    said = {"thinking": field(answer, "thinking"), "content": field(answer, "response")}
    image = text(field(answer, "image"))
    return _said(answer, _parts(said) + ([Blob("image", None, image)] if image is not None else []))


def _said(answer: Any, parts: list[Any]) -> Content:
    reason = text(field(answer, "done_reason")) or "error"
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": parts, "finish_reason": reason}]}


class AnswerParts:
    """Puts the parts of a streamed answer together; keeps the text only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._length = 0
        self._thinking: list[str] = []
        self._pieces: list[str] = []
        self._tools: list[Any] = []
        self._last: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more parts: of a chat, or of a completion."""
        for chunk in chunks:
            self._last = chunk
            message = field(chunk, "message")
            said, holder = ("response", chunk) if message is None else ("content", message)
            self._add(self._pieces, field(holder, said))
            self._add(self._thinking, field(holder, "thinking"))
            for call in listed(field(message, "tool_calls")):
                function = field(call, "function")
                self._length += length_of(str(field(function, "name"))) + text_length(field(function, "arguments"))
                if self._keep:
                    self._tools.append(call)

    def _add(self, pieces: list[str], piece: Any) -> None:
        if isinstance(piece, str) and piece:
            self._length += length_of(piece)
            if self._keep:
                pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer of either kind."""
        thinking, said = "".join(self._thinking), "".join(self._pieces)
        return {
            "model": field(self._last, "model"),
            "message": {"thinking": thinking, "content": said, "tool_calls": self._tools},
            "thinking": thinking,
            "response": said,
            "image": field(self._last, "image"),
            "done_reason": field(self._last, "done_reason"),
            **{name: field(self._last, name) for name in _COUNTS},
        }

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the part with the counts has come."""
        return any(field(self._last, name) is not None for name in _COUNTS)

    @property
    def complete(self) -> bool:
        """Return whether the last part has come."""
        return field(self._last, "done") is True


_MODEL: Mapping[str, tuple[str, Converter]] = {"model": (A.GEN_AI_REQUEST_MODEL, text)}
_SAMPLING: Mapping[str, tuple[str, Converter]] = {
    "options.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
    "options.top_p": (A.GEN_AI_REQUEST_TOP_P, number),
    "options.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
    "options.seed": (A.GEN_AI_REQUEST_SEED, integer),
    "options.num_predict": (A.GEN_AI_REQUEST_MAX_TOKENS, _limit),
    "options.stop": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
    "options.frequency_penalty": (A.GEN_AI_REQUEST_FREQUENCY_PENALTY, number),
    "options.presence_penalty": (A.GEN_AI_REQUEST_PRESENCE_PENALTY, number),
}

CHAT = Operation(
    name=S.CHAT,
    api="chat",
    fields=_MODEL,
    nested=_SAMPLING,
    request=read_request,
    response=read_response,
    accumulate=AnswerParts,
    input=read_messages,
    output=read_message,
    family="inference",
    limit=("options.num_predict",),
)

GENERATE = CHAT._replace(name=S.TEXT_COMPLETION, api="completions", input=read_prompt, output=read_completion)

SYSTEM_ONE = Operation(
    name=S.GENERATE_CONTENT,
    api="systemone",
    fields=_MODEL,
    response=read_model,
    family="inference",
)

EMBED = Operation(
    name=S.EMBEDDINGS,
    api="embed",
    fields={**_MODEL, "dimensions": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer)},
    response=read_model,
)
