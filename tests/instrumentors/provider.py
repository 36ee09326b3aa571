"""A provider's end of the wire for the real SDKs, and one way to write a test for sync and async clients."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import deque
from collections.abc import Iterable
from typing import Any

import anthropic
import openai

from ..replay.transport import Reply, Wire, cut

JSON = {"content-type": "application/json", "x-request-id": "req_1", "request-id": "req_1"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_1", "request-id": "req_1"}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A JSON response, in several pieces."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, {**JSON, **(headers or {})}, cut(payload, "json", 3))


def events(items: Iterable[Any], *, done: bool = True, then: BaseException | asyncio.Event | None = None) -> Reply:
    """Server-sent events, each in a piece of its own; `then` is raised or waited for after the last one."""
    chunks: list[bytes | BaseException | asyncio.Event] = []
    for item in items:
        name = f"event: {item['type']}\n" if isinstance(item, dict) and "type" in item else ""
        chunks.append(f"{name}data: {json.dumps(item)}\n\n".encode())
    if then is not None:
        chunks.append(then)
    elif done:
        chunks.append(b"data: [DONE]\n\n")
    return Reply(200, EVENTS, chunks)


class Provider:
    """Answers the requests of both SDKs with what `replies` holds, in order; the last answer stays.

    `asynchronous` says which clients `openai()` and `anthropic()` make. A test awaits every result with `now`
    and reads every stream with `items`, and so is written once for both.
    """

    def __init__(self, *, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self.replies: deque[Reply] = deque()
        self._wires = {sdk: Wire(sdk, self._respond) for sdk in ("openai", "anthropic")}
        self._clients: dict[str, Any] = {}

    def _respond(self, request: Any) -> Reply:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self.replies = deque(replies)

    def client(self, sdk: str) -> Any:
        """The client of `sdk` with no options of its own, always the same."""
        if sdk not in self._clients:
            self._clients[sdk] = getattr(self, sdk)()
        return self._clients[sdk]

    def openai(self, **options: Any) -> Any:
        """An OpenAI client, at the real address unless `base_url` says otherwise."""
        kind: Any = openai.AsyncOpenAI if self.asynchronous else openai.OpenAI
        return kind(**self._options("openai", options))

    def azure(self, **options: Any) -> Any:
        """An Azure OpenAI client."""
        kind: Any = openai.AsyncAzureOpenAI if self.asynchronous else openai.AzureOpenAI
        address = {"azure_endpoint": "https://example.openai.azure.com", "api_version": "2024-10-21"}
        return kind(**self._options("openai", address | options))

    def anthropic(self, **options: Any) -> Any:
        """An Anthropic client."""
        kind: Any = anthropic.AsyncAnthropic if self.asynchronous else anthropic.Anthropic
        return kind(**self._options("anthropic", options))

    def _options(self, sdk: str, options: dict[str, Any]) -> dict[str, Any]:
        return {"api_key": "test", "max_retries": 0, "http_client": self.http_client(sdk)} | options

    def http_client(self, sdk: str) -> Any:
        """The HTTP client on the in-process wire."""
        wire = self._wires[sdk]
        return wire.async_client if self.asynchronous else wire.client

    @property
    def requests(self) -> list[Any]:
        """The requests received so far."""
        return [request for wire in self._wires.values() for request in wire.requests]

    @property
    def bodies(self) -> list[Any]:
        """The JSON bodies of these requests."""
        return [json.loads(request.content) for request in self.requests]

    @property
    def left_open(self) -> list[Any]:
        """Response bodies that nobody closed."""
        return [body for wire in self._wires.values() for body in wire.left_open]


async def now(value: Any) -> Any:
    """The value itself, or what it comes to when awaited."""
    return await value if inspect.isawaitable(value) else value


async def items(stream: Any, limit: int | None = None, into: list[Any] | None = None) -> list[Any]:
    """What comes out of a stream; only the first `limit` items, when given, and the stream is left there."""
    found: list[Any] = [] if into is None else into
    if limit == 0:
        return found
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            found.append(item)
            if len(found) == limit:
                break
        return found
    for item in stream:
        found.append(item)
        if len(found) == limit:
            break
    return found


class Within:
    """`async with` for context managers of both kinds."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        if hasattr(self._manager, "__aenter__"):
            return await self._manager.__aenter__()
        return self._manager.__enter__()

    async def __aexit__(self, *error: Any) -> Any:
        if hasattr(self._manager, "__aexit__"):
            return await self._manager.__aexit__(*error)
        return self._manager.__exit__(*error)
