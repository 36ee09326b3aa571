"""What is played: one method call of one SDK, which sends what a recording has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .recordings import Recording

Kind = Literal["generates", "billed", "unbilled", "other"]
"""What a method does: generate, something else that is paid for, something that has a span and costs nothing, though
it may speak of tokens that another call has used or will use, or anything else (files, models, …)."""


@dataclass(frozen=True)
class ClientKey:
    """What tells one client from another.

    Args:
        sdk: The import package.
        base_url: The address.
        variant: Which of the SDK's clients it is, where there are several for the same address.
        settings: Further arguments of the client.
    """

    sdk: str
    base_url: str
    variant: str = ""
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plan:
    """One method call that sends what the recording has. `method` is a dotted path from the client."""

    recording: Recording
    client: ClientKey
    method: str
    kwargs: dict[str, Any]
    kind: Kind
    streams: bool


Way = Callable[[Any, Plan], Awaitable[Any]]
"""`await way(client, plan)`: make the call with either client; gives what the application can see of it."""


@dataclass(frozen=True)
class Sdk:
    """One client library.

    Args:
        package: The import package.
        library: The library's name for users.
        sends: Whether this library may have sent what was recorded of a provider and operation.
        plan: How the installed version sends a recorded request, or why it cannot.
        unsendable: Why some of the recordings are not replayed.
        wire: Makes what answers its requests, given who does.
        client: Makes a client on a wire, synchronous or not.
        ways: The ways in which the installed version can make a planned call; `plain`, the method itself, is the first.
        added: Fields that the library adds to requests of its own accord.
        asynchronous: Whether there is an asynchronous client.
        also: Further names of the library for users, of what else it is a client of.
    """

    package: str
    library: str
    sends: Callable[[str, str], bool]
    plan: Callable[[Recording], Plan | str]
    unsendable: frozenset[str]
    wire: Callable[[Any], Any]
    client: Callable[[ClientKey, Any, bool], Any]
    ways: Callable[[Plan], Mapping[str, Way]]
    added: frozenset[str] = frozenset()
    asynchronous: bool = True
    also: tuple[str, ...] = ()
