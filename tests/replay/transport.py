"""An in-process end of the wire: answers the requests of a real SDK from memory, in pieces of any size."""

from __future__ import annotations

import asyncio
import importlib
import io
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

_USERS = {
    "cerebras": "cerebras.cloud.sdk._base_client",
    "cohere": "cohere.core.http_client",
    "deepgram": "deepgram.core.http_client",
    "google_genai": "google.genai._api_client",
    "huggingface_hub": "huggingface_hub.utils._http",
    "mistralai": "mistralai.client.httpclient",
    "ollama": "ollama._client",
    "openrouter": "openrouter.httpclient",
    "replicate": "replicate.client",
    "zai": "zai.core._http_client",
}
"""The modules that import the HTTP library, where it is not the one that Stainless generates."""


@cache
def http_library(sdk: str) -> ModuleType:
    """The HTTP library under `sdk`: httpx2 for most current ones, httpx before."""
    user = importlib.import_module(_USERS.get(sdk, f"{sdk}._base_client"))
    return getattr(user, "httpx2", None) or user.httpx


@dataclass
class Reply:
    """What the wire answers.

    `chunks` are the body as it arrives. An exception among them is raised there; an event is waited for, by
    asynchronous clients.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes | BaseException | asyncio.Event] = ()


def cut(payload: bytes, seed: str, pieces: int = 12) -> list[bytes]:
    """`payload` in up to `pieces` pieces, cut at places that are random but the same for the same seed."""
    if len(payload) < 2:
        return [payload]
    rng = random.Random(seed)
    places = sorted({rng.randrange(1, len(payload)) for _ in range(pieces - 1)})
    return [payload[a:b] for a, b in zip([0, *places], [*places, len(payload)], strict=True)]


Responder = Callable[[Any], Reply]


class Wire:
    """What answers the requests of one SDK. `requests` are those received, `bodies` the response bodies handed out."""

    def __init__(self, sdk: str, respond: Responder) -> None:
        self.respond = respond
        self.requests: list[Any] = []
        self.bodies: list[Any] = []
        http = http_library(sdk)
        wire = self

        class Body(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[name-defined, misc]
            """A response body that knows whether it was closed."""

            def __init__(self, chunks: Sequence[bytes | BaseException | asyncio.Event]) -> None:
                self.chunks = chunks
                self.closed = False

            def __iter__(self) -> Iterator[bytes]:
                for chunk in self.chunks:
                    if isinstance(chunk, BaseException):
                        raise chunk
                    if isinstance(chunk, bytes):
                        yield chunk

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for chunk in self.chunks:
                    if isinstance(chunk, asyncio.Event):
                        await chunk.wait()
                    elif isinstance(chunk, BaseException):
                        raise chunk
                    else:
                        yield chunk

            def close(self) -> None:
                self.closed = True

            async def aclose(self) -> None:
                self.closed = True

        def answer(request: Any) -> Any:
            wire.requests.append(request)
            reply = wire.respond(request)
            body = Body(reply.chunks)
            wire.bodies.append(body)
            return http.Response(reply.status, headers=reply.headers, stream=body, request=request)

        class Transport(http.BaseTransport, http.AsyncBaseTransport):  # type: ignore[name-defined, misc]
            def handle_request(self, request: Any) -> Any:
                request.read()
                return answer(request)

            async def handle_async_request(self, request: Any) -> Any:
                await request.aread()
                return answer(request)

        self.transport = Transport()
        self.client = http.Client(transport=self.transport)
        self.async_client = http.AsyncClient(transport=self.transport)

    def forget(self) -> None:
        """Drop what was seen so far."""
        self.requests.clear()
        self.bodies.clear()

    @property
    def left_open(self) -> list[Any]:
        """The response bodies that nobody closed."""
        return [body for body in self.bodies if not body.closed]


class Received(NamedTuple):
    """A request as the library sends it."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes


class Body(io.RawIOBase):
    """The bytes of a response, in pieces."""

    def __init__(self, pieces: Any) -> None:
        self._pieces = list(pieces)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._pieces.pop(0) if self._pieces else b""
        count = min(len(piece), len(buffer))
        buffer[:count] = piece[:count]
        if count < len(piece):
            self._pieces.insert(0, piece[count:])
        return count


class RequestsWire:
    """As `Wire`, for libraries over `requests`: `session` is what they send with."""

    def __init__(self, respond: Responder) -> None:
        from requests import Session
        from requests.adapters import HTTPAdapter
        from urllib3 import HTTPResponse

        self.requests: list[Received] = []
        self.bodies: list[Body] = []
        wire = self

        class Adapter(HTTPAdapter):
            def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
                received = Received(request.method, request.url, dict(request.headers), request.body or b"")
                wire.requests.append(received)
                reply = respond(received)
                body = Body(reply.chunks)
                wire.bodies.append(body)
                raw = HTTPResponse(body, reply.headers, reply.status, preload_content=False)
                return self.build_response(request, raw)

        self.session = Session()
        self.session.mount("https://", Adapter())

    def forget(self) -> None:
        """Drop what was seen so far."""
        self.requests.clear()
        self.bodies.clear()

    @property
    def left_open(self) -> list[Body]:
        """The response bodies that nobody closed."""
        return [body for body in self.bodies if not body.closed]
