"""The ways in which an application stops reading a stream, as far as a version of an SDK has them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import pytest

from ..instrumentors.provider import Within, items, now

Ending = Callable[[list[Any]], Awaitable[None]]
"""Stops reading the stream that is the only item of the list, and keeps no reference to it."""


async def settled() -> None:
    """Let an event loop do what it has to do about a generator that was dropped."""
    for _ in range(4):
        await asyncio.sleep(0)


async def unknown(held: list[Any], why: str) -> NoReturn:
    """Skip an ending that this version does not have."""
    held.clear()
    await settled()
    pytest.skip(f"streams of this version {why}")


async def dropped(held: list[Any]) -> None:
    """Two chunks are read, then nobody refers to the stream any more."""
    await items(held[0], 2)
    held.clear()
    await settled()


async def never_read(held: list[Any]) -> None:
    """Nobody refers to the stream any more, and nobody ever read it."""
    held.clear()
    await settled()


async def left_with(held: list[Any]) -> None:
    """The stream's `with` block is left after two chunks."""
    if not hasattr(held[0], "__enter__") and not hasattr(held[0], "__aenter__"):
        await unknown(held, "are no context managers")
    stream = held[0]
    async with Within(stream):
        await items(stream, 2)


async def closed(held: list[Any]) -> None:
    """The stream is closed after one chunk."""
    if not hasattr(held[0], "close"):
        await unknown(held, "cannot be closed")
    stream = held[0]
    await now(anext(stream) if hasattr(stream, "__anext__") else next(stream))
    await now(stream.close())


async def response_closed(held: list[Any]) -> None:
    """The response under the stream is closed after one chunk."""
    stream = held[0]
    asynchronous = hasattr(stream, "__anext__")
    await now(anext(stream) if asynchronous else next(stream))
    await now(stream.response.aclose() if asynchronous else stream.response.close())


ENDINGS: list[Ending] = [dropped, never_read, left_with, closed, response_closed]
