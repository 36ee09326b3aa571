"""Deepgram's sockets: its client has a context manager for each, and the connection is read as an iterator."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.contract.rows.deepgram import make
from tests.contract.sockets.row import SocketRow
from tests.instrumentors.provider import Within, now

TEXT = "The capital of France is Paris."
SOUND = bytes(32000)
"""One second."""


def client(address: str, asynchronous: bool) -> Any:
    """Make a client."""
    return make(f"ws://{address}", asynchronous, 0).sdk


def heard(start: float, seconds: float, said: str) -> dict[str, Any]:
    """A transcript of a piece."""
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "start": start,
        "duration": seconds,
        "is_final": True,
        "speech_final": True,
        "channel": {"alternatives": [{"transcript": said, "confidence": 0.9, "words": []}]},
        "metadata": {
            "request_id": "r1",
            "model_uuid": "m1",
            "model_info": {"name": "general-nova-3", "version": "2025-07-31.0", "arch": "nova-3"},
        },
    }


METADATA = {
    "type": "Metadata",
    "transaction_key": "deprecated",
    "request_id": "r1",
    "sha256": "00",
    "created": "2026-11-29T00:00:00.000Z",
    "duration": 2.0,
    "channels": 1,
}


def listens(message: Any) -> list[Any]:
    """Transcribe each piece of a second, and count them in the end."""
    if isinstance(message, bytes):
        return [heard(0, 1, TEXT)]
    return [METADATA, 1000] if message == {"type": "CloseStream"} else []


def turn(end: float, event: str) -> dict[str, Any]:
    """What the second generation says of a turn."""
    return {
        "type": "TurnInfo",
        "request_id": "r1",
        "sequence_id": 1,
        "event": event,
        "turn_index": 0,
        "audio_window_start": 0.0,
        "audio_window_end": end,
        "transcript": TEXT,
        "words": [],
        "end_of_turn_confidence": 0.9,
    }


def listens_in_turns(message: Any) -> list[Any]:
    """Tell of a turn with each piece."""
    if message is None:
        return [{"type": "Connected", "request_id": "r1", "sequence_id": 0}]
    return [turn(1.0, "Update")] if isinstance(message, bytes) else [turn(2.0, "EndOfTurn"), 1000]


def speaks(message: Any) -> list[Any]:
    """Speak what was sent when it is flushed."""
    kind = message["type"] if message is not None else ""
    if kind == "Speak":
        return [{"type": "Metadata", "request_id": "r1", "model_name": "aura-2-thalia-en", "model_version": "1",
                 "model_uuid": "m1"}]  # fmt: skip
    return {"Flush": [b"sound", {"type": "Flushed", "sequence_id": 1}], "Close": [1000]}.get(kind, [])


def converses(message: Any) -> list[Any]:
    """Welcome who comes, and answer what is set."""
    if message is None:
        return [{"type": "Welcome", "request_id": "r1"}]
    said = {"type": "ConversationText", "role": "assistant", "content": TEXT}
    return [{"type": "SettingsApplied"}, said] if message["type"] == "Settings" else []


def send(connection: Any, message: Any) -> Any:
    """Send a message; the methods that make one have other names in each version."""
    if isinstance(message, bytes):
        return connection.send_media(message)
    return connection._websocket.send(json.dumps(message))


def talk(opens: Callable[[Any], Any], sends: tuple[Any, ...], until: str = "") -> Callable[[Any], AsyncIterator[Any]]:
    """Return what opens a socket, sends, and reads until that kind of message, or to the end."""

    async def run(client: Any) -> AsyncIterator[Any]:
        async with Within(opens(client)) as connection:
            for message in sends:
                await now(send(connection, message))
            if hasattr(connection, "__aiter__"):
                async for message in connection:
                    yield message
                    if getattr(message, "type", "") == until:
                        break
            else:
                for message in connection:
                    yield message
                    if getattr(message, "type", "") == until:
                        break

    return run


def row(operation: str, **given: Any) -> SocketRow:
    """A row of this client."""
    return SocketRow(library="deepgram", module="deepgram", client=client, operation=operation,
                     provider="deepgram", text=TEXT, **given)  # fmt: skip


LISTEN = {"model": "nova-3", "encoding": "linear16", "sample_rate": "16000"}
FLUX = {**LISTEN, "model": "flux-general-en"}
END = {"type": "CloseStream"}

ROWS = (
    row(
        "transcription",
        script=listens,
        talk=talk(lambda client: client.listen.v1.connect(**LISTEN), (SOUND, SOUND, END)),
        model="nova-3",
        usage={"live_second": 2},
        cost=2 * 0.0077 / 60,
    ),
    row(
        "speech",
        script=speaks,
        talk=talk(
            lambda client: client.speak.v1.connect(model="aura-2-thalia-en"),
            ({"type": "Speak", "text": TEXT}, {"type": "Flush"}),
            "Flushed",
        ),
        model="aura-2-thalia-en",
        usage={"character": len(TEXT)},
        cost=len(TEXT) * 30e-6,
    ),
    row(
        "realtime",
        script=converses,
        talk=talk(lambda client: client.agent.v1.connect(), ({"type": "Settings"},), "ConversationText"),
        model="voice-agent",
        usage={},
        cost=None,
        early="success",
    ),
)
"""Its agents end with their connection, whoever closes it."""
