"""The stream of an interaction, put together from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body
from genledger.engine.to_json import plain
from genledger.pricing.getters import field

_ENDED = frozenset(("completed", "incomplete", "requires_action", "requires_continuation", "failed", "cancelled"))


class InteractionEvents:
    """Puts the events of an interaction together; keeps its steps only when content is captured.

    The last event has the whole usage, but no steps. Events before it may count what was generated so far.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._interaction: dict[str, Any] = {}
        self._usage: Any = None
        self._steps: dict[int, dict[str, Any]] = {}
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, typed or plain; one that is malformed is passed over."""
        for event in map(plain, chunks):
            try:
                if (delta := event.get("delta")) is not None:
                    self._delta(int(event.get("index") or 0), delta)
                elif self._keep and (step := event.get("step") or event.get("content")) is not None:
                    self._steps[int(event.get("index") or 0)] = dict(step)
                elif (interaction := event.get("interaction")) is not None:
                    self._interaction.update((name, value) for name, value in interaction.items() if value is not None)
                elif event.get("status") is not None:
                    self._interaction["status"] = event["status"]
                usage = field(event.get("metadata"), "usage") or field(event.get("interaction"), "usage")
                self._usage = usage or self._usage
            except (AttributeError, TypeError, ValueError):
                continue

    def _delta(self, index: int, delta: Mapping[str, Any]) -> None:
        piece = field(delta.get("content"), "text") or delta.get("text") or delta.get("arguments")
        if not isinstance(piece, str):
            return
        self._length += length_of(piece)
        if not self._keep:
            return
        kind = "thought" if "thought" in str(delta.get("type")) else "model_output"
        step = self._steps.setdefault(index, {"type": kind})
        if delta.get("arguments") is not None:
            before = step.get("arguments")
            step["arguments"] = (before if isinstance(before, str) else "") + piece
            return
        place = "summary" if step.get("type") == "thought" else "content"
        said = step.setdefault(place, [{"type": "text", "text": ""}])
        said[-1] = {**said[-1], "text": str(field(said[-1], "text") or "") + piece}

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like an interaction."""
        steps = [step for _, step in sorted(self._steps.items())]
        return {**self._interaction, "usage": self._usage, "steps": self._interaction.get("steps") or steps}

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether the interaction has ended."""
        return self._interaction.get("status") in _ENDED

    @property
    def counted(self) -> bool:
        """Return whether the whole usage has come."""
        return self.complete and self._interaction.get("usage") is not None
