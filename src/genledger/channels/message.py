"""A message for people and machines, as every channel takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

SCHEMA = "genledger.alert/1"
"""The schema of a message's `payload`; docs/alerts.md describes it."""


class ChannelUnusable(Exception):
    """A channel cannot be used in this process; the message says why, and what to do."""


State = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Notice:
    """One message.

    Attributes:
        title: One line.
        text: Plain text, at most a few lines.
        payload: The same as data: what webhooks are sent.
        at: When it was made, in seconds since the epoch: messages are delivered in this order.
        until: When it is too old to matter; `None` for never.
        event: What the message is about, for a function of the application.
    """

    title: str
    text: str
    payload: Mapping[str, Any]
    at: float
    until: float | None = None
    event: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Return whether something began or ended."""
        return "resolved" if self.payload.get("state") == "resolved" else "firing"

    def dump(self) -> str:
        """As a store's text."""
        return orjson.dumps(self).decode()

    @classmethod
    def load(cls, body: str) -> Notice:
        """From a store's text.

        Raises:
            ValueError: It is no message.
        """
        try:
            return cls(**orjson.loads(body))
        except TypeError as error:
            raise ValueError(f"not a message: {error}") from None
