"""Gemini's Live API: a conversation, whose turns are the calls; asynchronous only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tests.contract.sockets.row import SocketRow

MODEL = "gemini-live-2.5-flash-preview"
TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
USAGE = {
    "promptTokenCount": 1000,
    "responseTokenCount": 500,
    "totalTokenCount": 1500,
    "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 800}, {"modality": "TEXT", "tokenCount": 200}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 400}, {"modality": "TEXT", "tokenCount": 100}],
}
COST = (200 * 0.5 + 800 * 3 + 100 * 2 + 400 * 12) / 1e6
"""https://ai.google.dev/gemini-api/docs/pricing, USD per million tokens."""


def sound(said: str) -> dict[str, Any]:
    """A piece of a spoken turn."""
    data = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA"}}
    return {"serverContent": {"modelTurn": {"parts": [data]}, "outputTranscription": {"text": said}}}


COMPLETE = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}


def answers(message: Any) -> list[Any]:
    """Answer each content that is complete."""
    if message is None:
        return []
    if "setup" in message:
        return [{"setupComplete": {}}]
    if message.get("client_content", {}).get("turnComplete"):
        return [sound("The capital of France"), sound(" is Paris."), COMPLETE]
    return []


def client(address: str, asynchronous: bool) -> Any:
    """Make a client; it knows only addresses that are encrypted."""
    from google import genai

    made = genai.Client(api_key="k", http_options={"base_url": f"http://{address}"})
    api: Any = made.aio.live._api_client
    api._websocket_base_url = lambda *options: f"ws://{address}"
    api._websocket_ssl_ctx = {}
    return made


def content(text: str) -> Any:
    """A message of the user."""
    return {"role": "user", "parts": [{"text": text}]}


async def talk(client: Any) -> AsyncIterator[Any]:
    """Ask, and read the answer."""
    async with client.aio.live.connect(model=MODEL, config={"response_modalities": ["AUDIO"]}) as session:
        await session.send_client_content(turns=content(PROMPT), turn_complete=True)
        async for message in session.receive():
            yield message


ROWS = (
    SocketRow(
        library="google-genai",
        module="google.genai",
        operation="realtime",
        script=answers,
        client=client,
        talk=talk,
        provider="gcp.gemini",
        model=MODEL,
        usage={"input_tokens": 1000, "output_tokens": 500},
        cost=COST,
        text=TEXT,
        asked=True,
        synchronous=False,
    ),
)
