"""Server-sent events that a client hands out as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from genledger.engine.operation import StreamAccumulator


class EventLines:
    """Puts a stream together that hands out server-sent events as they came, cut anywhere, or the events themselves."""

    def __init__(self, events: StreamAccumulator) -> None:
        self._events = events
        self._rest = b""

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks."""
        for chunk in chunks:
            if isinstance(chunk, str):
                chunk = chunk.encode()
            self._events.fold(list(self._read(chunk)) if isinstance(chunk, bytes) else [chunk])

    def _read(self, chunk: bytes) -> Iterable[Any]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                try:
                    yield json.loads(line[5:])
                except ValueError:
                    continue

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole response."""
        return self._events.response()

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._events.text_length()

    @property
    def counted(self) -> bool:
        """Return whether the usage counts everything."""
        return self._events.counted

    @property
    def complete(self) -> bool | None:
        """Return whether the response has ended."""
        return self._events.complete
