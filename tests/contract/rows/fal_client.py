"""fal's client: a request waits in a queue, and is asked for until its result is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.row import Row
from tests.contract.server import Reply, Request, Server, json_reply

MODEL = "fal-ai/any-llm"
PROMPT = "What is the capital of France?"
TEXT = "The capital of France is Paris."
UNITS = {"x-fal-billable-units": "2"}
PRICES = str(Path(__file__).with_name("fal_prices.toml"))


class QueueServer(Server):
    """Puts what is posted into a queue, under an id of its own, unless that is refused."""

    def reply(self, request: Request) -> Reply:
        """Return where a request is in the queue, and the next answer when its result is asked for."""
        if "/status?" in request.path:
            return json_reply({"status": "COMPLETED", "logs": None, "metrics": {}})
        if request.method == "POST" and b'"output"' in b"".join(self._replies[0].body):
            return queued(self.url, f"q{len(self.requests)}")
        return super().reply(request)


def queued(url: str, name: str) -> Reply:
    """A request in the queue."""
    there = f"{url}/fal-ai/any-llm/requests/{name}"
    addresses = {"response_url": f"{there}/response", "status_url": f"{there}/status", "cancel_url": f"{there}/cancel"}
    return json_reply({"status": "IN_QUEUE", "request_id": name, "queue_position": 0, **addresses})


def result(body: Any = None, **headers: str) -> Reply:
    """A result."""
    return json_reply(body or {"output": TEXT}, **{**UNITS, **headers})


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client; its hosts and its patience are constants, which are read when it calls."""
    import fal_client.client

    module: Any = fal_client.client
    module.RUN_URL_FORMAT = module.QUEUE_URL_FORMAT = f"{url}/"
    module.MAX_ATTEMPTS, module.BASE_DELAY = 1 + retries, 0.001
    return (module.AsyncClient if asynchronous else module.SyncClient)(key="k:s")


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    return client.subscribe(MODEL, {"prompt": PROMPT})


def error(status: int) -> Reply:
    """An error answer."""
    return Reply(status, "application/json", (json.dumps({"detail": f"No: {PROMPT}"}).encode(),))


ROW = Row(
    library="fal-client",
    module="fal_client",
    client=make,
    call=ask,
    whole=result(),
    events=(),
    provider="fal",
    model=MODEL,
    usage=(0, 0),
    cost=2 * 0.01,
    error=error,
    text=TEXT,
    prompt=PROMPT,
    streams=False,
    retries=False,  # a status of 500 is not tried again
    operation="generate_content",
    options={"prices": PRICES},
    server=QueueServer,
)
