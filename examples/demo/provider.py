"""The provider's end on loopback: an HTTP server that speaks the formats of OpenAI, Anthropic, Gemini and Converse.

    with DemoProvider() as provider:
        client = openai.OpenAI(base_url=provider.openai_url, api_key="demo")

It answers by the content of a request, so that the same request gets the same answer, and keeps a journal of
every request with what it charged for it.
"""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from . import anthropic_format, converse_format, gemini_format, openai_format
from .answer import Answer
from .scripted_model import ScriptedModel


@dataclass(frozen=True, slots=True)
class Fault:
    """Answer the first `times` requests whose text contains `when`, and whose path contains `path`, with an error.

    A status of 429 asks the client to try again after `retry_after_ms`; any other tells it not to.
    """

    when: str
    status: int
    times: int = 1
    retry_after_ms: int = 20
    path: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request received. `usage` is what was charged, in the wire format's words; None for an error."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    status: int
    model: str | None
    usage: Mapping[str, Any] | None


class DemoProvider:
    """A provider on a free port of 127.0.0.1. Use it as a context manager, or call `start` and `close`.

    Args:
        replies: What the model says to a question that contains the key; the first key that fits decides.
        arguments: What the model calls a tool with, by the tool's name; words of the question fill any other's schema.
        faults: Errors to answer with, each a bounded number of times.
        latency: Seconds that pass before the first byte of an answer.
        rounds: How often the model calls a tool before it answers, in chat completions and in Gemini's format.
    """

    def __init__(
        self,
        *,
        replies: Mapping[str, str] | None = None,
        arguments: Mapping[str, Mapping[str, Any]] | None = None,
        faults: Iterable[Fault] = (),
        latency: float = 0.0,
        rounds: int = 1,
    ) -> None:
        self.requests: list[Exchange] = []
        self._model = ScriptedModel(replies or {}, arguments or {}, rounds)
        self._faults = {fault: fault.times for fault in faults}
        self._latency = latency
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def openai_url(self) -> str:
        """The `base_url` for OpenAI's clients."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The `base_url` for Anthropic's clients; also for Gemini's, and the `endpoint_url` for Bedrock's."""
        return self.url

    def start(self) -> Self:
        """Serve from a background thread, which does not keep the process alive."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="demo-provider", daemon=True).start()
        return self

    def close(self) -> None:
        """Stop serving and close every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, target: str, headers: Mapping[str, str], raw: bytes) -> Answer:
        path = urlsplit(target).path
        body = json.loads(raw or b"{}")
        _, _, deployment = path.partition("/openai/deployments/")
        if deployment:  # Azure names the model in the path
            body.setdefault("model", unquote(deployment.split("/")[0]))
        number = next(self._numbers)
        try:
            answer = self._fault(path, raw, number) or self._respond(path, body, number)
        except (KeyError, IndexError) as missing:
            answer = _error(path, 400, number, {}, f"The request lacks something: {missing!r}")
        with self._lock:
            self.requests.append(Exchange(path, headers, body, answer.status, answer.model, answer.usage))
        name = "request-id" if path.endswith("/messages") else "x-request-id"
        return replace(answer, headers={**answer.headers, name: f"req_demo{number:08d}"})

    def _respond(self, path: str, body: Mapping[str, Any], number: int) -> Answer:
        if path.endswith("/chat/completions"):
            return openai_format.chat(body, self._model, number)
        if path.endswith("/responses"):
            return openai_format.responses(body, self._model, number)
        if path.endswith("/embeddings"):
            return openai_format.embeddings(body)
        if path.endswith("/messages"):
            return anthropic_format.messages(body, self._model, number)
        if path.endswith(_GEMINI):
            name, _, method = path.rpartition("/")[2].partition(":")
            return gemini_format.generate(body, name, self._model, number, stream=method.startswith("stream"))
        if path.endswith(_CONVERSE):
            return converse_format.converse(body, unquote(path.split("/")[-2]), self._model, number)
        return _error(path, 404, number, {})

    def _fault(self, path: str, raw: bytes, number: int) -> Answer | None:
        text = raw.decode()
        with self._lock:
            faults = (fault for fault, left in self._faults.items() if left)
            due = next((fault for fault in faults if fault.when in text and fault.path in path), None)
            if due is None:
                return None
            self._faults[due] -= 1
        if due.status == 429:
            return _error(path, 429, number, {"retry-after-ms": str(due.retry_after_ms), "retry-after": "1"})
        return _error(path, due.status, number, {"x-should-retry": "false"})


_GEMINI = (":generateContent", ":streamGenerateContent")
_CONVERSE = "/converse"

_ERRORS = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "The API key is not valid."),
    404: ("not_found_error", "There is no such resource."),
    429: ("rate_limit_error", "Too many requests. Please try again later."),
    500: ("api_error", "The server had an error while processing your request."),
    529: ("overloaded_error", "Overloaded"),
}
"""Anthropic's error types (https://docs.claude.com/en/api/errors); OpenAI's differ below."""


def _error(path: str, status: int, number: int, headers: Mapping[str, str], message: str | None = None) -> Answer:
    kind, usual = _ERRORS.get(status, _ERRORS[500])
    message = message or usual
    if path.endswith("/messages"):
        return anthropic_format.error(status, message, kind, f"req_demo{number:08d}", headers)
    if path.endswith(_GEMINI):
        return gemini_format.error(status, message, headers)
    if path.endswith(_CONVERSE):
        return converse_format.error(status, message, headers)
    if status == 429:
        return openai_format.error(status, message, "requests", "rate_limit_exceeded", headers)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return openai_format.error(status, message, kind, None, headers)


class _Server(ThreadingHTTPServer):
    def __init__(self, provider: DemoProvider) -> None:
        self.provider = provider
        self._connections: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong, unless a client only went away in the middle of its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        with self._guard:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the client was faster
                pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        provider = self.server.provider
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = provider._answer(self.path, {k.lower(): v for k, v in self.headers.items()}, raw)
        time.sleep(provider._latency)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.events is None:
            content = json.dumps(answer.body).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in answer.events:
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the server silent; the journal has it all."""
