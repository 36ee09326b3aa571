"""Replicate's client: predictions are jobs, waited for, asked for, or streamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, Request, Server, json_reply

MODEL = "meta/meta-llama-3-70b-instruct"
PROMPT = "What is the capital of France?"
TEXT = "The capital of France is Paris."
METRICS = {"input_token_count": 1000, "output_token_count": 500, "predict_time": 2.5}
PRICES = str(Path(__file__).with_name("replicate_prices.toml"))


class ReplicateServer(Server):
    """Answers a request that wants a stream with where it is, and with the stream there."""

    def reply(self, request: Request) -> Reply:
        """Return the next answer, or what creates the stream that it is."""
        streamed = self._replies[0].kind == "text/event-stream"
        if request.method == "POST" and streamed:
            return json_reply(prediction("starting", urls={"stream": f"{self.url}/stream/p1"}), 201)
        return super().reply(request)


def prediction(status: str, **more: Any) -> dict[str, Any]:
    """A prediction."""
    return {"id": "p1", "model": MODEL, "version": "v1", "status": status, "input": {}, "urls": {}, **more}


def finished(**more: Any) -> Reply:
    """A prediction that has ended."""
    return json_reply(prediction("succeeded", **{"output": TEXT.split(" "), "metrics": METRICS, **more}))


def events() -> tuple[bytes, ...]:
    """A stream of output."""
    words = [("output", word if word == "Paris." else f"{word} ") for word in TEXT.split()]
    return tuple(
        f"event: {kind}\nid: {number}\ndata: {data}\n\n".encode()
        for number, (kind, data) in enumerate([*words, ("done", "{}")], 1)
    )


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import replicate

    client = replicate.Client("k", base_url=url)
    client.poll_interval = 0.001
    return Asynchronous(client) if asynchronous else client


class Asynchronous:
    """The asynchronous methods of the one client under the names of the others."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.run = client.async_run
        self.stream = client.async_stream


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    return (client.stream if stream else client.run)(MODEL, input={"prompt": PROMPT, **limit})


def error(status: int) -> Reply:
    """An error answer."""
    problem = {"title": "No", "detail": f"No: {PROMPT}", "status": status}
    return Reply(status, "application/problem+json", (json.dumps(problem).encode(),))


ROW = Row(
    library="replicate",
    module="replicate",
    client=make,
    call=ask,
    whole=finished(output=TEXT),
    events=events(),
    provider="replicate",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.65e-6 + 500 * 2.75e-6,
    error=error,
    limit=lambda request: request.json["input"].get("max_tokens"),
    sent_model=lambda request: request.path.removeprefix("/v1/models/").removesuffix("/predictions"),
    cheaper="meta/meta-llama-3-8b-instruct",
    operation="generate_content",
    options={"prices": PRICES},
    server=ReplicateServer,
    stream_counts=False,  # metrics come with the finished prediction, and not in its stream
    retries=False,  # its transport sends nothing again that creates a prediction
)
