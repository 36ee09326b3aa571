"""The stream of a `generateContent`, put together from its chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of, text_length
from genledger.engine.operation import Body, listed
from genledger.instrumentation.adapters.http_response import parse
from genledger.pricing.getters import label


def payload(answer: Any) -> Any:
    """Return an answer as data: clients give the JSON, an object that has it as its `body`, or what it says."""
    answer = getattr(answer, "body", answer)
    return (parse(answer) or {}) if isinstance(answer, (str, bytes)) else answer


class ContentChunks:
    """Puts the chunks of a stream together; keeps the parts only when content is captured.

    Each chunk is a whole answer about a piece of it: the usage counts everything so far, and the last one is right.
    """

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._answer: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}
        self._length = 0

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks; one that is malformed is passed over."""
        for chunk in chunks:
            try:
                said = payload(chunk)
                for candidate in listed(said.get("candidates")):
                    self._take(candidate)
                self._answer.update((name, value) for name, value in said.items() if name != "candidates" and value)
            except (AttributeError, TypeError, ValueError):
                continue

    def _take(self, candidate: Mapping[str, Any]) -> None:
        whole = self._candidates.setdefault(candidate.get("index") or 0, {"content": {"parts": []}})
        whole.update((name, value) for name, value in candidate.items() if name != "content" and value)
        for part in listed((candidate.get("content") or {}).get("parts")):
            said = part.get("text")
            call = part.get("functionCall")
            self._length += length_of(said) if isinstance(said, str) else text_length(call)
            if self._keep:
                join_part(whole["content"]["parts"], part)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a whole answer."""
        return {**self._answer, "candidates": [one for _, one in sorted(self._candidates.items())]}

    def text_length(self) -> int:
        """Return the bytes generated so far."""
        return self._length

    @property
    def complete(self) -> bool:
        """Return whether every candidate has ended, or the prompt was blocked."""
        if not self._candidates:
            return label(self._answer.get("promptFeedback"), "blockReason") is not None
        return all(label(one, "finishReason") is not None for one in self._candidates.values())

    @property
    def counted(self) -> bool:
        """Return whether the usage of the whole answer has come."""
        return self.complete and "usageMetadata" in self._answer


def join_part(parts: list[dict[str, Any]], part: Mapping[str, Any]) -> None:
    """Add a part to those before it; a text goes on where the last one, of the same kind, stopped."""
    last = parts[-1] if parts else {}
    if isinstance(part.get("text"), str) and "text" in last and last.get("thought") == part.get("thought"):
        parts[-1] = {**last, **part, "text": last["text"] + part["text"]}
    else:
        parts.append(dict(part))
