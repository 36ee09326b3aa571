"""Bedrock's Converse, and the Nova models behind InvokeModel, which speak it.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
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
    Operation,
    at_path,
    integer,
    number,
    strings,
    text,
)
from genledger.pricing.getters import items
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_call",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "model_context_window_exceeded": "length",
}
_MEDIA = {"image": "image", "document": "document", "video": "video", "audio": "audio"}


def read_request(body: Body, attributes: Attributes) -> None:
    """Read the request's other fields."""
    if at_path(body, "outputConfig.textFormat.type") == "json_schema":
        attributes[A.GEN_AI_OUTPUT_TYPE] = "json"


def read_response(answer: Any, attributes: Attributes) -> None:
    """Why the answer ended. Which model answered is said only by the request."""
    reason = at_path(answer, "stopReason")
    if isinstance(reason, str):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (reason,)


def _media(kind: str, block: Mapping[str, Any]) -> Any:
    form = block.get("format")
    data = at_path(block, "source.bytes")
    if isinstance(data, bytes):
        data = b64encode(data).decode()
    if isinstance(data, str):
        return Blob(_MEDIA[kind], f"{kind}/{form}" if isinstance(form, str) else None, data)
    said = at_path(block, "source.text")
    return (
        text_part(said) if isinstance(said, str) else media_part(_MEDIA[kind], at_path(block, "source.s3Location.uri"))
    )


def part(block: Any) -> Any:
    """One block of a message's content, which has a single member: what kind it is."""
    if not isinstance(block, Mapping) or len(block) != 1:
        return generic_part(block)
    ((kind, value),) = block.items()
    if kind == "text":
        return text_part(value)
    if not isinstance(value, Mapping):
        return generic_part(block)
    if kind in _MEDIA:
        return _media(kind, value)
    if kind == "toolUse":
        return tool_call_part(value.get("name"), value.get("input"), value.get("toolUseId"))
    if kind == "toolResult":
        return tool_response_part(value.get("content"), value.get("toolUseId"))
    if kind == "reasoningContent" and (thought := at_path(value, "reasoningText.text")) is not None:
        return reasoning_part(thought)
    if kind == "citationsContent":
        said = (at_path(one, "text") for one in items(value, "content"))
        return text_part("".join(one for one in said if isinstance(one, str)))
    if kind == "guardContent" and (guarded := at_path(value, "text.text")) is not None:
        return text_part(guarded)
    return generic_part(block)


def _parts(message: Any, name: str = "content") -> list[Any]:
    return [part(block) for block in items(message, name)]


def read_input(body: Body) -> Content:
    """Return the system prompt, messages and tools of a request."""
    messages = [
        {"role": str(at_path(message, "role") or "user"), "parts": _parts(message)}
        for message in items(body, "messages")
    ]
    names = [at_path(tool, "toolSpec.name") for tool in items(body.get("toolConfig"), "tools")]
    return {
        A.GEN_AI_SYSTEM_INSTRUCTIONS: _parts(body, "system"),
        A.GEN_AI_INPUT_MESSAGES: messages,
        A.GEN_AI_TOOL_DEFINITIONS: [{"type": "function", "name": name} for name in names if isinstance(name, str)],
    }


def read_output(answer: Any) -> Content:
    """Return the message that was generated."""
    message = at_path(answer, "output.message")
    if not isinstance(message, Mapping):
        return {}
    reason = at_path(answer, "stopReason")
    finish = _FINISH.get(reason, reason) if isinstance(reason, str) else "error"
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": _parts(message), "finish_reason": finish}]}


class ConverseEvents:
    """Puts the events of a streamed message together; keeps the content only when it is captured.

    `metadata`, the last event, has the usage.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._blocks: dict[int, _Block] = {}
        self._stop_reason: Any = None
        self._metadata: Mapping[str, Any] = {}
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, each of which has a single member; one that is malformed is passed over."""
        for event in chunks:
            try:
                if "contentBlockDelta" in event:
                    self._delta(event["contentBlockDelta"])
                elif "contentBlockStart" in event and self._keep:
                    start = event["contentBlockStart"]
                    self._blocks[int(start["contentBlockIndex"])] = _Block(start["start"])
                elif "messageStop" in event:
                    self._stop_reason = text(event["messageStop"]["stopReason"])
                elif "metadata" in event:
                    self._metadata = dict(event["metadata"])
            except (AttributeError, KeyError, TypeError, ValueError):
                continue

    def _delta(self, event: Mapping[str, Any]) -> None:
        delta = event["delta"]
        piece = delta.get("text")
        if piece is None:
            piece = at_path(delta, "toolUse.input") or at_path(delta, "reasoningContent.text")
        if isinstance(piece, str):
            self._length += length_of(piece)
            if self._keep:
                self._blocks.setdefault(int(event["contentBlockIndex"]), _Block(delta)).pieces.append(piece)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like the answer of Converse."""
        content: list[dict[str, Any]] = []
        for _, block in sorted(self._blocks.items()):
            whole = block.whole()
            if "text" in whole and content and "text" in content[-1]:  # Nova's documents: each piece is a block
                whole = {"text": content.pop()["text"] + whole["text"]}
            content.append(whole)
        return {
            **self._metadata,
            "stopReason": self._stop_reason,
            "output": {"message": {"role": "assistant", "content": content}},
        }

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the event with the usage has come."""
        return isinstance(self._metadata.get("usage"), Mapping)

    @property
    def complete(self) -> bool:
        """Return whether the provider has sent the stop reason."""
        return self._stop_reason is not None


class _Block:
    """One block of a message's content: how it started, and the pieces of it."""

    def __init__(self, start: Any) -> None:
        self._start = start
        self.pieces: list[str] = []

    def whole(self) -> dict[str, Any]:
        """Return the block as it is in an answer that is not streamed."""
        said = "".join(self.pieces)
        if isinstance(tool := at_path(self._start, "toolUse"), Mapping):
            return {"toolUse": {**tool, "input": said}}
        if at_path(self._start, "reasoningContent") is not None:
            return {"reasoningContent": {"reasoningText": {"text": said}}}
        return {"text": said}


CONVERSE = Operation(
    name=S.CHAT,
    api="converse",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={
        "inferenceConfig.maxTokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "inferenceConfig.max_new_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "inferenceConfig.temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
        "inferenceConfig.topP": (A.GEN_AI_REQUEST_TOP_P, number),
        "inferenceConfig.topK": (A.GEN_AI_REQUEST_TOP_K, integer),
        "inferenceConfig.stopSequences": (A.GEN_AI_REQUEST_STOP_SEQUENCES, strings),
        "additionalModelRequestFields.top_k": (A.GEN_AI_REQUEST_TOP_K, integer),
        "guardrailConfig.guardrailIdentifier": (A.AWS_BEDROCK_GUARDRAIL_ID, text),
    },
    request=read_request,
    response=read_response,
    accumulate=ConverseEvents,
    input=read_input,
    output=read_output,
    family="inference",
    limit=("inferenceConfig.maxTokens", "inferenceConfig.max_new_tokens"),
)
