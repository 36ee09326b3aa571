"""AssemblyAI's streaming transcripts: read in the background, and told in callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.contract.row import at_least
from tests.contract.sockets.row import SocketRow
from tests.instrumentors.provider import now

TEXT = "The capital of France is Paris."
MODEL = "universal-streaming-english"


def transcribes(message: Any) -> list[Any]:
    """Begin, tell of a turn with each piece, and terminate."""
    if message is None:
        return [{"type": "Begin", "id": "s1", "expires_at": "2026-11-30T00:00:00Z"}]
    if isinstance(message, bytes):
        word = {"start": 0, "end": 1, "text": "Paris", "confidence": 0.9, "word_is_final": True}
        turn = {"turn_order": 0, "turn_is_formatted": True, "end_of_turn": True, "end_of_turn_confidence": 0.9}
        return [{"type": "Turn", **turn, "transcript": TEXT, "words": [word]}]
    if message == {"type": "Terminate"}:
        return [{"type": "Termination", "audio_duration_seconds": 50, "session_duration_seconds": 60}, 1000]
    return []


def client(address: str, asynchronous: bool) -> Any:
    """Make a client."""
    from assemblyai.streaming import v3

    kind = v3.AsyncStreamingClient if asynchronous else v3.StreamingClient
    return kind(v3.StreamingClientOptions(api_key="k", api_host=f"ws://{address}"))


async def talk(client: Any) -> AsyncIterator[Any]:
    """Stream a second, and end."""
    from assemblyai.streaming import v3

    got: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    events = v3.StreamingEvents
    for event in (events.Begin, events.Turn, events.Termination, events.Error):
        client.on(event, lambda client, said: loop.call_soon_threadsafe(got.put_nowait, said))
    await now(client.connect(v3.StreamingParameters(sample_rate=16000, speech_model=MODEL)))
    ended = False
    try:
        await now(client.stream(bytes(32000)))
        while not ended:
            said = await asyncio.wait_for(got.get(), 20)
            ended = type(said).__name__ not in ("BeginEvent", "TurnEvent")
            yield said
            if type(said).__name__ == "TurnEvent":
                await now(client.stream(iter(())))
                await _in_thread(client, True)
    finally:
        if not ended:
            await _in_thread(client, False)


async def _in_thread(client: Any, terminate: bool) -> None:
    if type(client).__name__.startswith("Async"):
        await client.disconnect(terminate=terminate)
    else:
        await asyncio.to_thread(client.disconnect, terminate=terminate)


ROWS = (
    SocketRow(
        library="assemblyai",
        module="assemblyai.streaming.v3",
        operation="transcription",
        script=transcribes,
        client=client,
        talk=talk,
        provider="assemblyai",
        model=MODEL,
        usage={"live_second": 60},
        cost=60 * 0.15 / 3600,
        text=TEXT,
        asynchronous=at_least("assemblyai", 1),
    ),
)
