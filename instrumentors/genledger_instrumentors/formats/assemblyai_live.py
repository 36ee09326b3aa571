"""AssemblyAI's streaming transcripts: billed by the seconds that the session is open.

https://www.assemblyai.com/docs/api-reference/streaming-api/streaming-api, https://www.assemblyai.com/pricing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.pricing.getters import duration, field, path

from .assemblyai_transcripts import TRANSCRIPT
from .audio import default_model
from .live_sessions import LiveSession, transcribed_live


class Streaming(LiveSession):
    """A session that is transcribed. It says how long it was when it is told to end."""

    _duration: float | None = None

    def hear(self, message: Any) -> None:
        """Take in a message of the provider."""
        kind = field(message, "type")
        if kind == "Begin":
            self.id, self.model = field(message, "id"), path(message, "configuration", "model")
        elif kind == "Turn":
            self.write(field(message, "transcript"), field(message, "turn_order"))
        elif kind == "Termination":
            told = (duration(field(message, f"{name}_duration_seconds")) for name in ("session", "audio"))
            self._duration = next((seconds for seconds in told if seconds is not None), None)
            self.complete, self.counted = True, self._duration is not None
        elif kind == "Error" or field(message, "error") is not None:
            self.error = str(field(message, "error_code") or "error")

    def billed(self, seconds: float) -> Mapping[str, Any]:
        """Return the seconds of the session."""
        return {"duration": seconds if self._duration is None else self._duration}


LIVE_TRANSCRIPT = transcribed_live(TRANSCRIPT)._replace(request=default_model("universal-streaming-english"))
