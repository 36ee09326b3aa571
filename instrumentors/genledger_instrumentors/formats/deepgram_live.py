"""Deepgram's sockets: listening, of two generations, speaking, and agents.

https://developers.deepgram.com/reference/speech-to-text/listen-streaming,
https://developers.deepgram.com/reference/text-to-speech/speak-streaming,
https://developers.deepgram.com/reference/voice-agent/voice-agent. Listening is billed by the seconds of the audio,
speaking by the characters that are sent, and an agent by the time that its connection is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import duration, field, items, number, path

from .deepgram_audio import LISTEN, SPEAK, SPEAK_2
from .live_sessions import LiveSession, agent, seconds_of_samples, spoken_live, transcribed_live


class Listening(LiveSession):
    """A session that is transcribed. The first generation says in the end how long it was, the second never does."""

    def __init__(self, body: Any, keep: bool) -> None:
        super().__init__(body, keep)
        self._size = 0
        self._reached = 0.0
        self._duration: float | None = None
        self._channels = duration(body.get("channels")) or 1.0

    def sent(self, message: Any) -> None:
        """Count the sound that is sent."""
        if isinstance(message, (bytes, bytearray)):
            self._size += len(message)

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        kind = field(message, "type")
        self.id = field(message, "request_id") or path(message, "metadata", "request_id") or self.id
        if kind == "Metadata":
            self._duration = duration(field(message, "duration"))
            self._channels = duration(field(message, "channels")) or self._channels
            self.complete = self.counted = self._duration is not None
        elif kind == "Results":
            self.model = path(message, "metadata", "model_info", "name") or self.model
            start, took = (duration(field(message, name)) or 0.0 for name in ("start", "duration"))
            self._reached = max(self._reached, start + took)
            said = next(items(field(message, "channel"), "alternatives"), None)
            if field(message, "is_final"):
                self.write(field(said, "transcript"))
        elif kind == "TurnInfo":
            self._reached = max(self._reached, duration(field(message, "audio_window_end")) or 0.0)
            self.write(field(message, "transcript"), field(message, "turn_index"))
        elif kind in ("Error", "FatalError"):
            self.error = field(message, "code") or field(message, "variant") or kind

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the seconds of the audio: those that the provider counted, else those sent or transcribed."""
        heard = self._duration
        if heard is None:
            sent = seconds_of_samples(self._size, self.body.get("encoding"), self.body.get("sample_rate"))
            heard = max(self._reached, sent / self._channels)
        several = str(self.body.get("multichannel")).lower() == "true"
        return {"duration": heard * (self._channels if several else 1.0)}


class Speaking(LiveSession):
    """A session that has text spoken: complete when all of it was. The second generation counts what it bills."""

    def __init__(self, body: Any, keep: bool) -> None:
        super().__init__(body, keep)
        self.complete = self.counted = True
        self._characters = 0.0
        self._waiting = 0

    def sent(self, message: Any) -> None:
        """Count the characters that are sent."""
        if field(message, "type") == "Speak" and isinstance(said := field(message, "text"), str):
            self._waiting += len(said)
            self.complete = False
            self.speak(said)

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        kind = field(message, "type")
        self.id = field(message, "request_id") or self.id
        self.model = field(message, "model_name") or self.model
        if kind in ("Flushed", "Cleared", "SpeechMetadata", "SpeechInterrupted"):
            counted = number(field(field(message, "metadata") or message, "billable_character_count"))
            self._characters += self._waiting if counted is None else counted
            self._waiting = 0
            self.complete = True
        elif kind in ("Error", "FatalError"):
            self.error = field(message, "code") or kind

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the characters that were sent."""
        return {"usage": {"characters": self._characters + self._waiting}}


class Conversing(LiveSession):
    """A session with an agent. The application ends it."""

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        kind = field(message, "type")
        self.id = field(message, "request_id") or self.id
        if kind == "Welcome":
            self.complete = True
        elif kind == "ConversationText" and field(message, "role") == "assistant":
            self.write(field(message, "content"))
        elif kind == "Error":
            self.error = field(message, "code") or kind


LIVE_LISTEN = transcribed_live(LISTEN)

LIVE_LISTEN_2 = LIVE_LISTEN._replace(request=None)

LIVE_SPEAK = spoken_live(SPEAK)

LIVE_SPEAK_2 = LIVE_SPEAK._replace(request=SPEAK_2.request)

AGENT = agent("voice-agent")
