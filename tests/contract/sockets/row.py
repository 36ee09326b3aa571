"""What the contract suite has to know of one client's sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.contract.sockets.server import Script


@dataclass(frozen=True)
class SocketRow:
    """One kind of socket.

    Args:
        library: The library's name for users.
        module: What has to be importable, or the row is skipped.
        operation: The operation's name.
        script: The provider's end.
        client: Makes a client of the server's address, synchronous or not, without scheme.
        talk: Opens a socket with a client, asks for something, yields each thing that the application got of it, and
            ends as an application does that has read all. Left early, it closes.
        provider: `gen_ai.provider.name`.
        model: The model that is asked for.
        usage: What is counted, by the end of the attribute's name.
        cost: USD; `None` for what nobody has a price of.
        text: Text that content has to show when it is on, and never otherwise; empty where there is none.
        breaks: Whether a connection that breaks is an error to the client; some only end.
        asked: Whether a call is asked for over the open socket: budgets refuse it there.
        early: Outcome of a session that the application leaves early.
        synchronous: Whether there is a synchronous client.
        asynchronous: Whether there is an asynchronous client.
        options: Options of `genledger.instrument`.
    """

    library: str
    module: str
    operation: str
    script: Script
    client: Callable[[str, bool], Any]
    talk: Callable[[Any], AsyncIterator[Any]]
    provider: str
    model: str
    usage: Mapping[str, float]
    cost: float | None
    text: str = ""
    asked: bool = False
    early: str = "cancelled"
    synchronous: bool = True
    asynchronous: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
