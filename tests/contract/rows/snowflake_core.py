"""Snowflake's client of its REST API: completions of Cortex, over a connection that has logged in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.row import Row, at_least
from tests.contract.server import Reply, Request, Server, json_reply, sse

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
MODEL = "claude-sonnet-4-6"
USAGE = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
PRICES = str(Path(__file__).with_name("snowflake_prices.toml"))
NEW = at_least("snowflake.core", 1, 14)
"""Older ones read no answer that is not streamed."""
HEAD = {"id": "a-1", "created": 1790000000, "model": MODEL}


class Account(Server):
    """A Snowflake account: it logs everybody in, and answers a query with one row; Cortex answers as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.row = "[]"

    def reply(self, request: Request) -> Reply:
        """Return the answer to a request; those that are not Cortex's are forgotten."""
        if "/cortex/" in request.path:
            return super().reply(request)
        self.requests.remove(request)
        column = {**dict.fromkeys(("length", "precision", "scale")), "name": "X", "type": "text", "nullable": True}
        login = {"token": "t", "masterToken": "m", "sessionId": 1, "validityInSeconds": 3600, "sessionInfo": {}}
        query = {"queryId": "q", "rowtype": [column], "rowset": [[self.row]], "total": 1, "returned": 1}
        more = {"parameters": [{"name": "CLIENT_TELEMETRY_ENABLED", "value": False}], "queryResultFormat": "json"}
        data = {**login, **more, "masterValidityInSeconds": 14400} if "login" in request.path else {**query, **more}
        return json_reply({"success": True, "code": None, "message": None, "data": data})


def connect(url: str) -> Any:
    """Log in."""
    from snowflake import connector

    host, port = url.removeprefix("http://").split(":")
    where = {"protocol": "http", "host": host, "port": int(port), "account": "a", "user": "u", "password": "p"}
    return connector.connect(**where, server_session_keep_alive=True, login_timeout=20)


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client; it has retries or none."""
    from snowflake.core import Root
    from snowflake.core._internal.snowapi_parameters import SnowApiParameter

    root = Root(connect(url))
    root.parameters().params_map[SnowApiParameter.USE_CLIENT_RETRY] = str(bool(retries)).lower()
    return root


class Events:
    """A stream of the client's: it gives the events by a method, and is closed by another."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._events = stream.events()

    def __iter__(self) -> Any:
        return (event.data for event in self._events)

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()


def ask(root: Any, *, stream: bool, max_tokens: int | None = None, model: str = MODEL) -> Any:
    """Make the call."""
    from snowflake.core.cortex.inference_service import CompleteRequest

    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT}],
        "stream": stream or not NEW,
    }
    if max_tokens is not None:
        asked["max_tokens"] = max_tokens
    events = Events(root.cortex_inference_service.complete(CompleteRequest.from_dict(asked)))
    return events if stream else dict(enumerate(events))


def chunks() -> tuple[bytes, ...]:
    """A streamed answer: only its last event has usage."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    deltas = [{"type": "text", "content": word, "content_list": [{"type": "text", "text": word}]} for word in words]
    last = {**HEAD, "choices": [{"delta": {"type": "text", "content": ""}}], "usage": USAGE}
    return sse(*({**HEAD, "choices": [{"delta": delta}], "usage": {}} for delta in deltas), last)


def whole(**more: Any) -> Reply:
    """A whole answer."""
    message = {"content": TEXT, "content_list": [{"type": "text", "text": TEXT}]}
    return json_reply({**HEAD, "choices": [{"message": message}], "usage": USAGE, **more})


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"message": f"No: {PROMPT}", "code": "1", "request_id": "r"}, status)


ROW = Row(
    library="snowflake-core",
    module="snowflake.core",
    client=make,
    call=ask,
    whole=whole() if NEW else Reply(200, "text/event-stream", chunks()),
    events=chunks(),
    provider="snowflake",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 4e-6 + 500 * 20e-6,
    error=error,
    cheaper="llama3.1-8b",
    asynchronous=False,
    options={"prices": PRICES},
    retries=False,  # it tries again after 429, 503 and 504
    server=Account,
)
