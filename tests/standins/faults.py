"""What a receiver can do instead of answering."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fault:
    """One wrong way to answer. `keeps` says whether the receiver has taken the request all the same."""

    keeps: bool = False

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Answer with this fault."""
        raise NotImplementedError


@dataclass(frozen=True)
class Status(Fault):
    """Answers with a status."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Answer with the status."""
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(self.body)))
        handler.end_headers()
        handler.wfile.write(self.body)


@dataclass(frozen=True)
class Hang(Fault):
    """Reads the request and says nothing until the server stops."""

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Say nothing."""
        stopping.wait(30)
        handler.close_connection = True


@dataclass(frozen=True)
class Late(Fault):
    """Takes the request, and says so when it is told to, or after some seconds."""

    keeps: bool = True
    seconds: float = 60.0
    go: threading.Event = field(default_factory=threading.Event)

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Wait, then answer as if nothing had been."""
        self.go.wait(self.seconds)
        Status(status=200).answer(handler, stopping)


@dataclass(frozen=True)
class Drip(Fault):
    """Sends its answer one byte after the other, never silent for long; `start` comes at once."""

    start: bytes = b"HTTP/1.1 200 OK\r\nx-slow: "

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Send bytes for as long as the connection lasts."""
        handler.close_connection = True
        handler.wfile.write(self.start)
        while not stopping.wait(0.05):
            handler.wfile.write(b"a")
            handler.wfile.flush()


DRIPS = {
    "status": Drip(start=b""),
    "headers": Drip(),
    "body": Drip(start=b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n"),
    "chunks": Drip(start=b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
}
"""Answers that never end, each in another part."""


@dataclass(frozen=True)
class Garbage(Fault):
    """Answers with bytes that are not HTTP."""

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Answer nonsense."""
        handler.wfile.write(b"\x00\xffnot http at all\r\n\r\n")
        handler.close_connection = True


@dataclass(frozen=True)
class HalfAnswer(Fault):
    """Announces a body of 200 bytes and closes the connection after 20."""

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Break off in the body."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 20)
        handler.close_connection = True


@dataclass(frozen=True)
class Close(Fault):
    """Closes the connection without a word."""

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Hang up."""
        handler.close_connection = True


@dataclass(frozen=True)
class Echo(Fault):
    """Refuses, and repeats the request's headers in its answer, credentials and all."""

    status: int = 401

    def answer(self, handler: http.server.BaseHTTPRequestHandler, stopping: threading.Event) -> None:
        """Give back what was sent."""
        body = json.dumps(dict(handler.headers)).encode()
        Status(status=self.status, body=body).answer(handler, stopping)
