"""The Realtime API: a conversation over a socket, in text and sound, each response a call with its own usage.

RealtimeEvents: https://platform.openai.com/docs/api-reference/realtime. What users say can also be transcribed, by
another model and at its price; that is a call of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.content.capture import Blob, generic_part, text_part, tool_call_part
from genledger.engine.operation import Attributes, Body, Content, Operation, integer, listed, number, text
from genledger.instrumentation.adapters.conversations import Asked, Heard
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_fields import read_answer
from .openai_media import TRANSCRIPTIONS
from .openai_responses import read_input

_SPOKEN = ("input_audio", "audio", "output_audio")


def hears(event: Any) -> Heard | None:
    """Return the meaning of a server event."""
    kind = field(event, "type")
    if not isinstance(kind, str):
        return None
    if kind.endswith(".delta"):
        response = field(event, "response_id")
        return Heard("chunk", response) if isinstance(response, str) else None
    if kind in ("session.created", "session.updated"):
        return Heard("opened", None, field(event, "session"))
    if kind == "response.created":
        return Heard("begun", field(field(event, "response"), "id"))
    if kind == "response.done":
        return Heard("ended", field(field(event, "response"), "id"))
    if kind == "conversation.item.input_audio_transcription.completed":
        return Heard("aside", None, event)
    if kind == "error":
        error = field(event, "error")
        refused = {
            "status": "failed",
            "status_details": {"error": {"code": field(error, "code") or field(error, "type")}},
        }
        return Heard("failed", field(error, "event_id"), refused)
    return None


def asks(event: Any) -> Asked | None:
    """Return what a client event requests."""
    if not isinstance(event, Mapping) or event.get("type") != "response.create":
        return None
    response = event.get("response")
    return Asked(response if isinstance(response, Mapping) else {}, text(event.get("event_id")))


def transcription(session: Any) -> Body:
    """Which model transcribes what the user says."""
    settings = field(field(field(session, "audio"), "input"), "transcription")
    settings = settings or field(session, "input_audio_transcription")
    return {"model": field(settings, "model")}


def read_response(answer: Any, attributes: Attributes) -> None:
    """Which response it is, and how it ended."""
    read_answer(answer, attributes)
    conversation = field(answer, "conversation_id")
    if isinstance(conversation, str):
        attributes[A.GEN_AI_CONVERSATION_ID] = conversation
    status, details = field(answer, "status"), field(answer, "status_details")
    if status == "completed":
        called = any(field(item, "type") == "function_call" for item in listed(field(answer, "output")))
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("tool_call" if called else "stop",)
    elif status == "incomplete":
        reason = field(details, "reason")
        ended = "length" if reason == "max_output_tokens" else reason if isinstance(reason, str) else "error"
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = (ended,)
    elif status in ("failed", "cancelled"):
        attributes[A.GEN_AI_RESPONSE_FINISH_REASONS] = ("error",)
    if status == "failed":
        error = field(details, "error")
        code = field(error, "code") or field(error, "type")
        attributes[A.ERROR_TYPE] = code if isinstance(code, str) else "failed"


class RealtimeEvents:
    """Puts the events of one response together: the last has all of it."""

    def __init__(self) -> None:
        self._response: Any = None
        self._length = 0

    def fold(self, chunks: Iterable[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            if field(event, "type") == "response.done":
                self._response = field(event, "response")
            elif "audio.delta" not in field(event, "type") and isinstance(field(event, "delta"), str):
                self._length += length_of(field(event, "delta"))

    def response(self) -> Mapping[str, Any]:
        """Return the response received so far."""
        names = ("id", "status", "status_details", "conversation_id", "usage", "output")
        return {name: field(self._response, name) for name in names}

    def text_length(self) -> int:
        """Return bytes of text and transcripts so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether the response has ended."""
        return self._response is not None

    @property
    def cut(self) -> bool:
        """Return whether it was interrupted: by the user speaking, or by the application."""
        return field(self._response, "status") == "cancelled"


def read_output(answer: Any) -> Content:
    """Return all messages and tool calls."""
    content: list[Any] = []
    for item in listed(field(answer, "output")):
        if field(item, "type") == "function_call":
            called = (field(item, name) for name in ("name", "arguments", "call_id"))
            content.append(tool_call_part(*called))
            continue
        for piece in listed(field(item, "content")):
            spoken = field(piece, "text") or field(piece, "transcript")
            sound = field(piece, "audio")
            if isinstance(spoken, str):
                content.append(text_part(spoken))
            if isinstance(sound, str) and field(piece, "type") in _SPOKEN:
                content.append(Blob("audio", None, sound))
            elif not isinstance(spoken, str):
                content.append(generic_part(piece))
    reason = "stop" if field(answer, "status") == "completed" else "error"
    message = {"role": "assistant", "parts": content, "finish_reason": reason}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message] if content else None}


REALTIME = Operation(
    name=S.REALTIME,
    api="realtime",
    fields={
        "model": (A.GEN_AI_REQUEST_MODEL, text),
        "max_output_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "max_response_output_tokens": (A.GEN_AI_REQUEST_MAX_TOKENS, integer),
        "temperature": (A.GEN_AI_REQUEST_TEMPERATURE, number),
    },
    response=read_response,
    input=read_input,
    output=read_output,
    fixed_model=True,
)

SPEECH_TO_TEXT = TRANSCRIPTIONS._replace(response=None, accumulate=None)
"""What the user said, in writing."""
