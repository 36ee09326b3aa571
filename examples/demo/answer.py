"""Answer of a wire format to the HTTP server, whole or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; OpenAI's chat completions have no event names."""

    name: str | None
    data: Mapping[str, Any] | str

    def encode(self) -> bytes:
        data = self.data if isinstance(self.data, str) else json.dumps(self.data)
        named = f"event: {self.name}\n" if self.name else ""
        return f"{named}data: {data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer. `usage` is what the request is charged for, in the wire format's own words."""

    status: int
    body: Mapping[str, Any] | None = None
    events: Iterable[Event] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    model: str | None = None
