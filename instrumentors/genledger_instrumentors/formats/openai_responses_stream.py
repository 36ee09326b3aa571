"""The stream of a response, put together from its events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, integer
from genledger.pricing.getters import field

ENDINGS = {
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
}
"""Events that end a response."""


class _Item:
    """An item of the output that is being generated."""

    __slots__ = ("_pieces", "_start")

    def __init__(self, start: Any = None) -> None:
        self._start = start
        self._pieces: dict[str, list[str]] = {}

    def add(self, kind: Any, piece: str) -> None:
        """Take in a delta of an event of this type."""
        self._pieces.setdefault(str(kind), []).append(piece)

    def whole(self) -> dict[str, Any]:
        """Return what came, shaped like an item."""
        start = self._start
        thought, spoken, called = ("".join(self._said(kinds)) for kinds in (_THOUGHTS, _SPEECH, _ARGUMENTS))
        return {
            "type": field(start, "type") or ("reasoning" if thought else "message"),
            "id": field(start, "id"),
            "call_id": field(start, "call_id"),
            "name": field(start, "name"),
            "arguments": called,
            "summary": [{"type": "summary_text", "text": thought}] if thought else [],
            "content": [{"type": "output_text", "text": spoken}] if spoken else [],
        }

    def _said(self, kinds: Sequence[str]) -> Iterator[str]:
        for kind, pieces in self._pieces.items():
            if any(part in kind for part in kinds):
                yield from pieces


_THOUGHTS = ("reasoning",)
_SPEECH = ("output_text", "refusal", "transcript")
_ARGUMENTS = ("arguments", "input", "code")


def _place(event: Mapping[str, Any]) -> int:
    return integer(event.get("output_index")) or 0


class ResponsesEvents:
    """Puts the events of a Responses stream together: the last ones carry the whole response.

    A stream that was cut has the items that were done, and what came of the others.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._response: Any = None
        self._items: dict[int, Any] = {}
        self._begun: dict[int, _Item] = {}
        self._ended = False
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events."""
        for event in chunks:
            fields = event if type(event) is dict else getattr(event, "__dict__", {})
            delta = fields.get("delta")
            if isinstance(delta, str):
                self._length += length_of(delta)
                if self._keep:
                    self._begun.setdefault(_place(fields), _Item()).add(fields.get("type"), delta)
            elif fields.get("type") == "response.output_item.done":
                self._items[_place(fields)] = fields.get("item")
            elif self._keep and fields.get("type") == "response.output_item.added":
                self._begun[_place(fields)] = _Item(fields.get("item"))
            elif fields.get("response") is not None:
                self._response = fields["response"]
                kind = fields.get("type")
                self._ended = self._ended or (isinstance(kind, str) and kind in ENDINGS)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a response."""
        response = self._response
        fields = ("id", "model", "status", "service_tier", "usage", "output", "incomplete_details", "error")
        shaped = {name: field(response, name) for name in fields}
        # A stream that was cut, or one of Codex, has its items only in events of their own.
        if not shaped["output"]:
            begun = {place: item.whole() for place, item in self._begun.items()}
            shaped["output"] = [item for _, item in sorted((begun | self._items).items())]
        if not self._ended:
            shaped["status"] = None
        return shaped

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether the last event, with the usage, has come."""
        return self._ended

    @property
    def complete(self) -> bool:
        """Return whether the provider has sent the final state."""
        return self._ended
