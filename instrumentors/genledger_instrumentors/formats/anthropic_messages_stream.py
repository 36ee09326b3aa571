"""The stream of a message, put together from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, text
from genledger.pricing.getters import field


class MessageEvents:
    """Puts the events of a message stream together; keeps the content only when it is captured.

    `message_start` has the input's usage, `message_delta` the totals so far: what comes later replaces, and
    never adds to, what came before.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._message: Any = None
        self._usage: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._blocks: dict[int, dict[str, Any]] = {}
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, typed or plain; one that is malformed is passed over."""
        if not self._skim(chunks):
            self._take(chunks)

    def _skim(self, chunks: Sequence[Any]) -> bool:
        """Typed events that are nothing but text of one block, which is what most events are."""
        try:
            said = "".join([event.delta.text for event in chunks])
            index = chunks[0].index
        except (AttributeError, TypeError):
            return False
        self._length += length_of(said)
        if self._keep and index in self._blocks:
            self._blocks[index]["pieces"].append(said)
        return True

    def _take(self, chunks: Sequence[Any]) -> None:
        for event in chunks:
            try:
                fields = event if type(event) is dict else event.__dict__
                kind = fields["type"]
                if kind == "content_block_delta":
                    self._delta(fields)
                elif kind == "message_delta":
                    self._stop_reason = text(field(fields["delta"], "stop_reason")) or self._stop_reason
                    self._take_usage(fields.get("usage"))
                elif kind == "message_start":
                    self._message = fields["message"]
                    self._take_usage(field(self._message, "usage"))
                elif kind == "content_block_start":
                    block = fields["content_block"]
                    if self._keep or field(block, "type") == "compaction":
                        self._blocks[fields["index"]] = {"start": block, "pieces": []}
            except (AttributeError, KeyError, TypeError):
                continue

    def _delta(self, event: Mapping[str, Any]) -> None:
        delta = event["delta"]
        fields = delta if type(delta) is dict else delta.__dict__
        piece = fields.get("text") or fields.get("thinking") or fields.get("partial_json") or fields.get("content")
        if isinstance(piece, str):
            self._length += length_of(piece)
            if self._keep and event["index"] in self._blocks:
                self._blocks[event["index"]]["pieces"].append(piece)

    def _take_usage(self, usage: Any) -> None:
        for name in _USAGE if usage is not None else ():
            value = field(usage, name)
            if value is not None:
                self._usage[name] = value

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a message."""
        message = self._message
        return {
            "id": field(message, "id"),
            "model": field(message, "model"),
            "stop_reason": self._stop_reason,
            "usage": self._usage or None,
            "content": [_whole(block) for _, block in sorted(self._blocks.items())],
        }

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return self._length

    @property
    def counted(self) -> bool:
        """Return whether `message_delta` has come: the output in `message_start` is a placeholder."""
        return self._stop_reason is not None

    @property
    def complete(self) -> bool:
        """Return whether the provider has sent the stop reason."""
        return self._stop_reason is not None


_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "server_tool_use",
    "service_tier",
    "inference_geo",
    "speed",
    "output_tokens_details",
    "iterations",
)


def _whole(block: dict[str, Any]) -> dict[str, Any]:
    start, pieces = block["start"], "".join(block["pieces"])
    return {
        "type": field(start, "type"),
        "text": pieces,
        "thinking": pieces,
        "id": field(start, "id"),
        "name": field(start, "name"),
        "input": pieces or field(start, "input"),
        "content": field(start, "content"),
        "tool_use_id": field(start, "tool_use_id"),
    }
