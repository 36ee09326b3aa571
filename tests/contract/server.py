"""A provider on loopback that answers as it is told, over real sockets."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer.

    Args:
        status: The HTTP status.
        kind: The content type.
        body: The body, in the parts that it is sent in.
        headers: Further headers.
        breaks: The connection is closed before the body has ended.
        hangs: Nothing more is sent after the body, and the connection stays open.
    """

    status: int
    kind: str
    body: tuple[bytes, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: bool = False
    hangs: bool = False


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    return Reply(status, "application/json", (json.dumps(body).encode(),), headers)


def sse(*events: Any, named: bool = False, done: bool = False) -> tuple[bytes, ...]:
    """Server-sent events, one a part."""
    parts = []
    for event in events:
        head = f"event: {event['type']}\n" if named else ""
        parts.append(f"{head}data: {json.dumps(event)}\n\n".encode())
    if done:
        parts.append(b"data: [DONE]\n\n")
    return tuple(parts)


@dataclass(frozen=True)
class Request:
    """A request as the server got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body or b"{}")


class Server:
    """Answers requests with what `will` was given, in order; the last answer stays."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._replies: deque[Reply] = deque()
        self._released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                """Log nothing."""

            def date_time_string(self, timestamp: float | None = None) -> str:
                """Return the same date always: some clients put an answer's headers into their exceptions."""
                return "Sun, 29 Nov 2026 00:00:00 GMT"

            def answer(self) -> None:
                """Answer one request."""
                length = int(self.headers.get("content-length") or 0)
                request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
                reply = outer.aside(request)
                if reply is None:
                    outer.requests.append(request)
                    reply = outer.reply(request)
                outer._send(self, reply)

            do_GET = do_POST = do_PUT = do_DELETE = answer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address, without a slash at its end."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self._replies = deque(replies)
        self.requests.clear()

    def aside(self, request: Request) -> Reply | None:
        """Return the answer to a request that is no call, but what the client does around one."""
        return None

    def reply(self, request: Request) -> Reply:
        """Return the answer to a request: the next one."""
        return self._replies.popleft() if len(self._replies) > 1 else self._replies[0]

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        with contextlib.suppress(OSError):
            handler.send_response(reply.status)
            handler.send_header("content-type", reply.kind)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("transfer-encoding", "chunked")
            handler.end_headers()
            for part in reply.body:
                handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                handler.wfile.flush()
            if reply.hangs:
                self._released.wait()
            if reply.breaks or reply.hangs:
                handler.close_connection = True
                handler.connection.close()
                return
            handler.wfile.write(b"0\r\n\r\n")

    def close(self) -> None:
        """Stop."""
        self._released.set()
        self._http.shutdown()
        self._http.server_close()


@contextlib.contextmanager
def serving(make: Any = Server) -> Iterator[Any]:
    """A server for a while."""
    server = make()
    try:
        yield server
    finally:
        server.close()
