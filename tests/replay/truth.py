"""What the provider said that a call used: read from the recorded bytes, knowing nothing of Genledger."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .recordings import Recording


@dataclass(frozen=True)
class Used:
    """Tokens that the provider says it billed. `total` counts input and output, cached and reasoning."""

    total: int
    output: int | None


def used(recording: Recording) -> Used | None:
    """The usage in the recorded response, or `None` when there is none."""
    if recording.status >= 400:
        return None
    found: dict[str, Any] | None = None
    for document in _documents(recording.payload):
        usage = _usage(document)
        if usage is not None:
            # A stream of Anthropic's begins with the input and later says only what has changed.
            found = {**(found or {}), **{key: value for key, value in usage.items() if value is not None}}
    return _total(found) if found else None


def _documents(payload: bytes) -> Iterator[dict[str, Any]]:
    text = payload.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if any(line.startswith("data:") for line in lines):
        candidates = [line[5:] for line in lines if line.startswith("data:")]
    else:
        candidates = [text]
    for candidate in candidates:
        try:
            document = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _usage(document: dict[str, Any]) -> dict[str, Any] | None:
    for place in (document, document.get("x_groq"), document.get("response"), document.get("message")):
        if isinstance(place, dict) and isinstance(place.get("usage"), dict):
            return place["usage"]
    return None


def _total(usage: dict[str, Any]) -> Used | None:
    output = usage.get("completion_tokens", usage.get("output_tokens"))
    if isinstance(usage.get("total_tokens"), int):
        return Used(usage["total_tokens"], output)
    if "input_tokens" not in usage:
        return None
    parts = [usage]
    # What a server-side compaction used is said beside the totals, not in them.
    parts += [part for part in usage.get("iterations") or () if part.get("type") == "compaction"]
    return Used(
        sum(_input(part) + part.get("output_tokens", 0) for part in parts),
        sum(part.get("output_tokens", 0) for part in parts),
    )


def _input(usage: dict[str, Any]) -> int:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name) or 0 for name in names)
