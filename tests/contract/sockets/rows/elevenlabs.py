"""ElevenLabs' sockets: transcripts told in callbacks, speech from a generator, and agents in the background."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from tests.contract.row import at_least
from tests.contract.sockets.row import SocketRow
from tests.instrumentors.provider import now

TEXT = "The capital of France is Paris."
SOUND = base64.b64encode(bytes(32000)).decode()
"""One second."""


def client(address: str, asynchronous: bool) -> Any:
    """Make a client."""
    import elevenlabs
    from elevenlabs.environment import ElevenLabsEnvironment

    there: dict[str, Any] = {"base_url": f"http://{address}"}
    if hasattr(ElevenLabsEnvironment.PRODUCTION, "wss"):  # older versions have an address for each
        there = {"environment": ElevenLabsEnvironment(base=f"http://{address}", wss=f"ws://{address}")}
    made = (elevenlabs.AsyncElevenLabs if asynchronous else elevenlabs.ElevenLabs)(api_key="k", **there)
    made.text_to_speech._ws_base_url = f"ws://{address}"
    return made


def transcribes(message: Any) -> list[Any]:
    """Commit a transcript when told to."""
    if message is None:
        started = {"session_id": "s1", "config": {"model_id": "scribe_v2_realtime", "sample_rate": 16000}}
        return [{"message_type": "session_started", **started}]
    if message.get("commit"):
        return [{"message_type": "committed_transcript", "text": TEXT}]
    return [{"message_type": "partial_transcript", "text": "The"}]


async def transcribe(client: Any) -> AsyncIterator[Any]:
    """Send a second, commit it, and read."""
    from elevenlabs.realtime import AudioFormat

    got: asyncio.Queue[Any] = asyncio.Queue()
    options = {"model_id": "scribe_v2_realtime", "audio_format": AudioFormat.PCM_16000, "sample_rate": 16000}
    connection = await client.speech_to_text.realtime.connect(options)
    for event in ("session_started", "partial_transcript", "committed_transcript", "error"):
        connection.on(event, got.put_nowait)
    connection.on("close", lambda: got.put_nowait(None))
    try:
        await connection.send({"audio_base_64": SOUND})
        await connection.commit()
        while (said := await asyncio.wait_for(got.get(), 20)) is not None:
            yield said
            if said.get("message_type") == "committed_transcript":
                break
    finally:
        await connection.close()


def speaks(message: Any) -> list[Any]:
    """Speak each text, and end with the empty one."""
    if message is None:
        return []
    if message["text"] == "":
        return [{"audio": None, "isFinal": True}, 1000]
    return [{"audio": base64.b64encode(message["text"].encode()).decode()}] if message["text"].strip() else []


async def speak(client: Any) -> AsyncIterator[Any]:
    """Have a text spoken."""
    settings = {"model_id": "eleven_flash_v2_5", "voice_settings": None}
    for sound in client.text_to_speech.convert_realtime("v1", text=iter([TEXT]), **settings):
        yield sound


def converses(message: Any) -> list[Any]:
    """Greet who comes."""
    if message is None or message.get("type") != "conversation_initiation_client_data":
        return []
    began = {"conversation_id": "c1", "agent_output_audio_format": "pcm_16000"}
    return [
        {"type": "conversation_initiation_metadata", "conversation_initiation_metadata_event": began},
        {"type": "agent_response", "agent_response_event": {"agent_response": TEXT}},
    ]


def conversation(client: Any, asynchronous: bool, say: Any) -> Any:
    """Make a conversation whose agent's words are said."""
    from elevenlabs.conversational_ai import conversation as module

    base: Any = module.AsyncAudioInterface if asynchronous else module.AudioInterface

    def nothing(self: Any, *given: Any) -> Any:
        return asyncio.sleep(0) if asynchronous else None

    audio = type("Silence", (base,), dict.fromkeys(("start", "stop", "output", "interrupt"), nothing))()

    async def told(text: str) -> None:
        say(text)

    kind = module.AsyncConversation if asynchronous else module.Conversation
    return kind(
        client, "a1", requires_auth=False, audio_interface=audio, callback_agent_response=told if asynchronous else say
    )


async def converse(client: Any) -> AsyncIterator[Any]:
    """Listen to an agent."""
    asynchronous = type(client).__name__.startswith("Async")
    got: asyncio.Queue[Any] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    one = conversation(client, asynchronous, lambda text: loop.call_soon_threadsafe(got.put_nowait, text))
    await now(one.start_session())
    try:
        said = asyncio.ensure_future(got.get())
        ended = asyncio.ensure_future(_ended(one, asynchronous))
        done, _ = await asyncio.wait((said, ended), timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if said in done:
            yield said.result()
        said.cancel()
    finally:
        await now(one.end_session())
        await ended


async def _ended(one: Any, asynchronous: bool) -> Any:
    return await (one.wait_for_session_end() if asynchronous else asyncio.to_thread(one.wait_for_session_end))


_SCRIBE = at_least("elevenlabs", 2, 23)

ROWS = (
    SocketRow(
        library="elevenlabs",
        module="elevenlabs.realtime" if _SCRIBE else "elevenlabs.no_realtime",
        operation="transcription",
        script=transcribes,
        client=client,
        talk=transcribe,
        provider="elevenlabs",
        model="scribe_v2_realtime",
        usage={"live_second": 1},
        cost=None,
        text=TEXT,
        early="success",
        synchronous=False,
    ),
    SocketRow(
        library="elevenlabs",
        module="elevenlabs",
        operation="speech",
        script=speaks,
        client=client,
        talk=speak,
        provider="elevenlabs",
        model="eleven_flash_v2_5",
        usage={"character": len(TEXT) + 1},  # the client adds a space
        cost=(len(TEXT) + 1) * 4e-05,
        text=TEXT,
        asynchronous=False,
    ),
    SocketRow(
        library="elevenlabs",
        module="elevenlabs",
        operation="realtime",
        script=converses,
        client=client,
        talk=converse,
        provider="elevenlabs",
        model="conversational-ai",
        usage={},
        cost=None,
        text=TEXT,
        early="success",
        asynchronous=at_least("elevenlabs", 2, 23),
    ),
)
