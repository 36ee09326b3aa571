"""The ways to ask Anthropic's client for a message."""

from __future__ import annotations

from typing import Any

from . import anthropic_format as wire
from .provider import Provider, Within, answer, events, items, now

WAYS = ("create", "stream", "helper", "raw")


async def ask(client: Any, provider: Provider, way: str) -> None:
    """Ask in one of the `WAYS`, and read the answer to its end."""
    streams = way in ("stream", "helper")
    provider.will(events(wire.message_events(), done=False) if streams else answer(wire.message()))
    if way == "create":
        await now(client.messages.create(**wire.ASK))
    elif way == "stream":
        await items(await now(client.messages.create(**wire.ASK, stream=True)))
    elif way == "helper":
        async with Within(client.messages.stream(**wire.ASK)) as stream:
            await items(stream)
    else:
        await now(client.messages.with_raw_response.create(**wire.ASK))
