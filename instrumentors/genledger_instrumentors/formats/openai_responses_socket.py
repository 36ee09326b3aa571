"""Responses over a socket: one after the other over one connection, each a call with the events of a stream.

https://developers.openai.com/api/docs/guides/websocket-mode
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.instrumentation.adapters.conversations import Asked, Heard
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from .openai_responses import RESPONSES
from .openai_responses_stream import ENDINGS, ResponsesEvents

SOCKET_RESPONSES = RESPONSES._replace(constant={A.OPENAI_API_TYPE: "responses"}, fixed_model=True)
"""A response that is asked for over a socket."""


def hears(event: Any) -> Heard | None:
    """Return the meaning of a server event: they have no id of the response, as there is one at a time."""
    kind = field(event, "type")
    if kind == "error" or kind in ENDINGS:
        return Heard("ended")
    return Heard("chunk") if isinstance(kind, str) and kind.startswith("response.") else None


def asks(event: Any) -> Asked | None:
    """Return what a client event requests."""
    if not isinstance(event, Mapping) or event.get("type") != "response.create":
        return None
    return Asked({name: value for name, value in event.items() if name != "type"})


class SocketEvents(ResponsesEvents):
    """Puts the events of one response together; one of an error ends it, also in place of a response."""

    def __init__(self) -> None:
        super().__init__({}, keep=True)

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        super().fold(
            [
                {"type": "response.failed", "response": {"status": "failed", "error": field(event, "error") or event}}
                if field(event, "type") == "error"
                else event
                for event in chunks
            ]
        )

    @property
    def cut(self) -> bool:
        """Return whether the response was cancelled."""
        return bool(self.response()["status"] == "cancelled")
