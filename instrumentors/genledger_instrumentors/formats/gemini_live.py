"""Gemini's Live API: a conversation over a socket, in text and sound, each turn of the model a call of its own.

https://ai.google.dev/api/live. A turn begins when the application sends content or when the model has heard enough,
and goes on over the calls of its tools until it is complete. There is one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of, text_length
from genledger.engine.operation import Body, listed, text
from genledger.engine.to_json import plain
from genledger.instrumentation.adapters.conversations import Asked, Conversations, Heard
from genledger.pricing.getters import field, first
from genledger_semconv import spans as S

from .gemini_content import GENERATE_CONTENT
from .gemini_stream import join_part

_OF_THE_MODEL = ("modelTurn", "outputTranscription", "generationComplete", "interrupted", "groundingMetadata")
"""What is said of the model's turn; a transcript of what it hears is not."""

_CONFIG = (
    ("maxOutputTokens", "max_output_tokens"),
    ("temperature", "temperature"),
    ("topP", "top_p"),
    ("responseModalities", "response_modalities"),
)


def read_config(config: Any) -> Body:
    """Return a session's settings, typed or as a mapping, by the names of a request."""
    given = plain(config)
    said = {name: first(given, name, other) for name, other in _CONFIG}
    own = first(given, "generationConfig", "generation_config")
    body = {
        "generationConfig": {name: first(own, name) if value is None else value for name, value in said.items()},
        "systemInstruction": first(given, "systemInstruction", "system_instruction"),
        "tools": [plain(tool) for tool in listed(field(given, "tools"))],
    }
    return {name: value for name, value in body.items() if value}


def hears(message: Any) -> Heard | None:
    """Return the meaning of a server's message."""
    content = field(message, "serverContent")
    if field(content, "turnComplete"):
        return Heard("ended", None, field(message, "usageMetadata"))
    told = any(field(content, name) is not None for name in _OF_THE_MODEL)
    if told or first(message, "toolCall", "usageMetadata") is not None:
        return Heard("chunk")
    return None


def asks(message: Any) -> Asked | None:
    """Return what a client's message requests. What is only heard requests nothing: the model decides.

    The client writes the fields' names in either of protobuf's two styles.
    """
    content = first(message, "client_content", "clientContent")
    if content is not None:
        whole = first(content, "turnComplete", "turn_complete")
        return Asked({"contents": listed(field(content, "turns"))}, joins="waiting") if whole else None
    heard = first(message, "realtime_input", "realtimeInput")
    if (said := text(field(heard, "text"))) is not None:
        return Asked({"contents": [{"role": "user", "parts": [{"text": said}]}]}, joins="open")
    ended = first(heard, "activityEnd", "activity_end")
    if ended is not None or first(message, "tool_response", "toolResponse") is not None:
        return Asked({}, joins="open")
    return None


class TurnEvents:
    """Puts the messages of one turn together, shaped like an answer of `generateContent`."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._grounding: Any = None
        self._spoken: list[str] = []
        self._usage: dict[str, Any] = {}
        self._reason: str | None = None
        self._length = 0
        self.cut = False

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more messages."""
        for message in chunks:
            content = field(message, "serverContent")
            for part in listed(field(field(content, "modelTurn"), "parts")):
                self._add(part)
            if isinstance(said := field(field(content, "outputTranscription"), "text"), str):
                self._spoken.append(said)
                self._length += length_of(said)
            for call in listed(field(field(message, "toolCall"), "functionCalls")):
                self._add({"functionCall": call})
            if (grounding := field(content, "groundingMetadata")) is not None:
                self._grounding = grounding
            if field(content, "interrupted"):
                self.cut = True
            if field(content, "turnComplete"):
                self._reason = text(field(content, "turnCompleteReason")) or "STOP"
            if isinstance(usage := field(message, "usageMetadata"), Mapping):
                self._count(usage)

    def _add(self, part: Any) -> None:
        said = field(part, "text")
        self._length += length_of(said) if isinstance(said, str) else text_length(field(part, "functionCall"))
        if isinstance(part, Mapping) and "inlineData" not in part:  # sound, whose words come as a transcript
            join_part(self._parts, part)

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Add what another generation of the turn consumed: before and after a tool, each counts its own prompt."""
        for name, value in usage.items():
            before = self._usage.get(name)
            summed = isinstance(value, (int, list)) and type(before) is type(value)
            self._usage[name] = before + value if summed else value

    def response(self) -> Mapping[str, Any]:
        """Return the turn received so far."""
        spoken = [{"text": "".join(self._spoken)}] if self._spoken else []
        content = {"role": "model", "parts": [*self._parts, *spoken]}
        reason = None if self._reason == "STOP" and self.cut else self._reason
        candidate = {"content": content, "finishReason": reason, "groundingMetadata": self._grounding}
        return {"candidates": [candidate], "usageMetadata": self._usage or None}

    def text_length(self) -> int:
        """Return bytes of text, transcripts and calls so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether the turn has ended."""
        return self._reason is not None


TURN = GENERATE_CONTENT._replace(
    name=S.REALTIME,
    api="live",
    accumulate=None,
    family="operation",
    limit=(),
    choices=(),
    tools=None,
    fixed_model=True,
)

TURNS = Conversations(library="google-genai", operation=TURN, accumulate=TurnEvents, hears=hears, asks=asks)
