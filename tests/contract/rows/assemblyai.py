"""AssemblyAI's client: a transcript is a job, which is asked for until it has ended."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.row import Row, at_least
from tests.contract.server import Reply, Request, Server, json_reply

TEXT = "The capital of France is Paris."
ADDRESS = "https://example.com/what-is-the-capital-of-france.mp3"
MODEL = "universal"
SECONDS = 60


class TranscriptServer(Server):
    """Answers what creates a transcript with one that is queued, under an id of its own, unless that is refused."""

    def reply(self, request: Request) -> Reply:
        """Return the next answer to who asks, and what has been created to who creates."""
        following = self._replies[0]
        ends = b"audio_duration" in b"".join(following.body)
        if request.method == "POST" and ends:
            return json_reply({**transcript("queued"), "id": f"t{len(self.requests)}"})
        if not ends:
            return super().reply(request)
        reply = super().reply(request)
        return json_reply({**json.loads(reply.body[0]), "id": request.path.rpartition("/")[2]})


def transcript(status: str, **more: Any) -> dict[str, Any]:
    """A transcript."""
    return {"id": "t1", "status": status, "audio_url": ADDRESS, "speech_model": MODEL, **more}


def completed(**more: Any) -> Reply:
    """A transcript that has ended."""
    ended = {
        "text": TEXT,
        "words": [],
        "confidence": 0.9,
        "audio_duration": SECONDS,
        "speech_model_used": "universal-2",
    }
    return json_reply(transcript("completed", **{**ended, **more}))


class Client:
    """The client, with a clock that waits no time."""

    client: Any
    transcriber: Any

    def __init__(self, url: str, asynchronous: bool, retries: int) -> None:
        import assemblyai

        addresses = {
            name: url for name in ("base_url", "llm_gateway_base_url") if name in assemblyai.Settings.__fields__
        }
        settings = assemblyai.Settings(api_key="k", polling_interval=0.01, **addresses)
        config = assemblyai.TranscriptionConfig(speech_model=MODEL)
        if asynchronous:
            self.client = assemblyai.AsyncClient(settings=settings)
            self.transcriber = assemblyai.AsyncTranscriber(client=self.client, config=config)
        else:
            self.client = assemblyai.Client(settings=settings)
            self.transcriber = assemblyai.Transcriber(client=self.client, config=config)
        self.transcribe = self.transcribed_async if asynchronous else self.transcribed

    def transcribed(self) -> Any:
        """Return a transcript."""
        return self.transcriber.transcribe(ADDRESS).json_response

    async def transcribed_async(self) -> Any:
        """Return a transcript."""
        return (await self.transcriber.transcribe(ADDRESS)).json_response


def ask(client: Client, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    return client.transcribe()


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"error": f"No: {ADDRESS}"}, status)


ROW = Row(
    library="assemblyai",
    module="assemblyai",
    client=Client,
    call=ask,
    whole=completed(),
    events=(),
    provider="assemblyai",
    model=MODEL,
    usage=(0, 0),
    cost=SECONDS * 0.15 / 3600,
    error=error,
    text=TEXT,
    prompt=ADDRESS,
    streams=False,
    asynchronous=at_least("assemblyai", 1),
    retries=False,
    operation="transcription",
    server=TranscriptServer,
)
