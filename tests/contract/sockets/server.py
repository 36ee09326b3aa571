"""A provider's end of a socket, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Script = Callable[[Any], Iterable[Any]]
"""What the provider says to a message of the client, or to `None`, which stands for the connection itself.

Objects are sent as JSON and bytes as they are; a number closes the connection with that code.
"""


class SocketServer:
    """Plays a script to everyone who connects.

    Attributes:
        address: Host and port.
        connections: How many have connected.
        heard: The messages that came, parsed.
        breaks: After so many messages, the connection breaks.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.address = ""
        self.connections = 0
        self.heard: list[Any] = []
        self.breaks: int | None = None

    def handle(self, connection: Any) -> None:
        """Talk to one client."""
        from websockets.exceptions import ConnectionClosed

        self.connections += 1
        left = self.breaks
        try:
            left = self.say(connection, None, left)
            for data in connection:
                message = json.loads(data) if isinstance(data, str) else data
                self.heard.append(message)
                left = self.say(connection, message, left)
        except ConnectionClosed:
            pass

    def say(self, connection: Any, message: Any, left: int | None) -> int | None:
        """Answer one message."""
        for said in self.script(message):
            if left == 0:
                connection.close(1011, "broken")
                return left
            if isinstance(said, int):
                connection.close(said)
            else:
                connection.send(said if isinstance(said, bytes) else json.dumps(said))
            left = None if left is None else left - 1
        return left


@contextmanager
def socket_server(script: Script) -> Iterator[SocketServer]:
    """A provider on a port of this machine."""
    from websockets.sync.server import serve

    one = SocketServer(script)
    with serve(one.handle, "127.0.0.1", 0) as server:
        one.address = f"127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield one
        server.shutdown()
        thread.join()
