"""ElevenLabs' sockets: realtime transcripts, text to speech, and agents.

https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime,
https://elevenlabs.io/docs/api-reference/text-to-speech/v-1-text-to-speech-voice-id-stream-input,
https://elevenlabs.io/docs/agents-platform/api-reference/agents-platform/websocket. Transcripts are billed by the
seconds of the audio that is sent, speech by its characters, and agents by the time that their connection is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Attributes
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A

from .elevenlabs_audio import SPEECH, TRANSCRIPTION
from .live_sessions import LiveSession, agent, seconds_of_samples, spoken_live, transcribed_live

_ERRORS = frozenset(
    {
        *("auth_error", "quota_exceeded", "commit_throttled", "transcriber_error", "unaccepted_terms"),
        *("unaccepted_terms_error", "rate_limited", "input_error", "invalid_request", "queue_overflow"),
        *("resource_exhausted", "session_time_limit_exceeded", "chunk_size_exceeded", "error"),
    }
)


class Transcribing(LiveSession):
    """A session that is transcribed. The application ends it, and nothing says how long it was but what was sent."""

    def __init__(self, body: Any, keep: bool) -> None:
        super().__init__(body, keep)
        self.counted = True
        self._size = 0

    def sent(self, message: Any) -> None:
        """Count the sound that is sent, in base 64."""
        if isinstance(sound := field(message, "audio_base_64"), str):
            self._size += len(sound) * 3 // 4 - sound[-2:].count("=")

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        kind = field(message, "message_type")
        if kind == "session_started":
            self.id, self.complete = field(message, "session_id"), True
            self.model = path(message, "config", "model_id")
        elif kind == "committed_transcript":
            self.write(field(message, "text"))
        elif kind in _ERRORS:
            self.error = kind

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the seconds of the sound that was sent."""
        encoding, _, rate = str(self.body.get("audio_format")).partition("_")
        return {"duration": seconds_of_samples(self._size, encoding, rate)}


class Voicing(LiveSession):
    """A session that has text spoken: complete when the last of it was."""

    def __init__(self, body: Any, keep: bool) -> None:
        super().__init__(body, keep)
        self.counted = True
        self._characters = 0

    def sent(self, message: Any) -> None:
        """Count the characters that are sent; a blank only opens the session."""
        if isinstance(said := field(message, "text"), str) and said.strip():
            self._characters += len(said)
            self.speak(said)

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        if field(message, "isFinal"):
            self.complete = True
        elif field(message, "audio") is None and isinstance(error := field(message, "error"), str):
            self.error = error

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the characters that were sent."""
        return {"usage": {"characters": self._characters}}


class Talking(LiveSession):
    """A session with an agent. Either side ends it."""

    def __init__(self, body: Any, keep: bool) -> None:
        super().__init__(body, keep)
        self.complete = True

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        self.id = path(message, "conversation_initiation_metadata_event", "conversation_id") or self.id
        self.write(path(message, "agent_response_event", "agent_response"))


def read_talk(answer: Any, attributes: Attributes) -> None:
    """Read which conversation it is."""
    if isinstance(name := field(answer, "id"), str):
        attributes[A.GEN_AI_CONVERSATION_ID] = name


LIVE_TRANSCRIPTION = transcribed_live(TRANSCRIPTION)

LIVE_SPEECH = spoken_live(SPEECH)

AGENT = agent("conversational-ai")._replace(response=read_talk)
