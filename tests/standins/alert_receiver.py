"""An HTTP server on loopback that keeps what it is posted."""

from __future__ import annotations

import http.server
import threading
from queue import SimpleQueue
from typing import Any, NamedTuple

import orjson


class Posted(NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Return the body as data."""
        return orjson.loads(self.body)


class AlertReceiver:
    """Answers with `status`, and keeps what it has taken; `tried` counts all."""

    def __init__(self) -> None:
        self.posts: SimpleQueue[Posted] = SimpleQueue()
        self.status = 200
        self.tried = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.tried += 1
                if outer.status < 300:
                    outer.posts.put(Posted(self.path, dict(self.headers), body))
                self.send_response(outer.status)
                if outer.status == 307:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def taken(self) -> list[Posted]:
        """Return what has come so far."""
        found = []
        while not self.posts.empty():
            found.append(self.posts.get())
        return found
