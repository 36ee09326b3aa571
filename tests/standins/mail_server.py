"""A mail server on loopback that keeps what it is given."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from email.message import EmailMessage
from queue import SimpleQueue


class MailServer:
    """Speaks as much SMTP as a client needs. With `refuses`, it answers every message with a passing error."""

    def __init__(self) -> None:
        self.messages: SimpleQueue[EmailMessage] = SimpleQueue()
        self.refuses = False
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say("220 loopback")
                while line := self.rfile.readline():
                    word = line[:4].upper().strip()
                    if word == b"DATA" and outer.refuses:
                        self._say("451 try again later")
                    elif word == b"DATA":
                        self._say("354 go on")
                        body = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            body += part
                        outer.messages.put(email.message_from_bytes(body, policy=email.policy.default))  # type: ignore[arg-type]
                        self._say("250 taken")
                    elif word == b"QUIT":
                        self._say("221 bye")
                        return
                    else:
                        self._say("250 loopback")

            def _say(self, text: str) -> None:
                self.wfile.write(text.encode() + b"\r\n")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = (
            f"mailto://127.0.0.1:{self._server.server_address[1]}?from=alerts@loopback.example&to=ops@loopback.example"
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
