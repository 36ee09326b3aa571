"""The sockets of ElevenLabs' client, which are written by hand: transcripts, speech, and agents."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Body, Endpoint
from genledger.instrumentation.adapters.sockets import SessionSockets
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.pricing.getters import label

from ..formats.elevenlabs_live import AGENT, LIVE_SPEECH, LIVE_TRANSCRIPTION, Talking, Transcribing, Voicing


def transcribed(instance: Any, given: dict[str, Any]) -> Body:
    """Return the request of a realtime transcript."""
    options = given["options"]
    return {**options, "model": options.get("model_id"), "audio_format": label(options, "audio_format") or "pcm_16000"}


def spoken(instance: Any, given: dict[str, Any]) -> Body:
    """Return the request of realtime speech: the text of an iterator is not known yet."""
    model = given.get("model_id")
    return {"voice_id": given.get("voice_id"), "model": model if isinstance(model, str) else None}


def endpoint(client: Any) -> Endpoint:
    """Return the server that a client, or the part of one that speaks, is connected to."""
    wrapper = client._client_wrapper
    address = wrapper.get_base_url() if hasattr(wrapper, "get_base_url") else wrapper.get_environment().wss
    address = getattr(client, "_ws_base_url", address)
    return endpoint_at("elevenlabs", str(address), getattr(wrapper, "_api_key", None))


SOCKETS = (
    SessionSockets(
        library="elevenlabs",
        classes={"elevenlabs.realtime.scribe": ("ScribeRealtime",)},
        opens="connect",
        operation=LIVE_TRANSCRIPTION,
        events=Transcribing,
        endpoint=lambda client: endpoint_at("elevenlabs", client.base_url, client.api_key),
        body=transcribed,
        socket="websocket",
    ),
    SessionSockets(
        library="elevenlabs",
        classes={"elevenlabs.realtime_tts": ("RealtimeTextToSpeechClient",)},
        opens="convert_realtime",
        operation=LIVE_SPEECH,
        events=Voicing,
        endpoint=endpoint,
        body=spoken,
        connect=("elevenlabs.realtime_tts", "connect"),
    ),
    SessionSockets(
        library="elevenlabs",
        classes={"elevenlabs.conversational_ai.conversation": ("Conversation", "AsyncConversation")},
        opens="start_session",
        operation=AGENT,
        events=Talking,
        endpoint=lambda conversation: endpoint(conversation.client),
        body=lambda conversation, given: {"agent_id": conversation.agent_id},
        told="_handle_message",
        runs="_run",
    ),
)
