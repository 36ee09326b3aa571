"""What the provider said that a call used: read from the recorded bytes, knowing nothing of Genledger."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..contract.event_stream import frames
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
    counted = _in_headers(recording.headers)
    found: dict[str, Any] = {}
    for document in () if counted else _documents(recording):
        # A stream of Anthropic's begins with the input and later says only what has changed.
        found |= {key: value for key, value in (_usage(document) or {}).items() if value is not None}
        counted = document.get("amazon-bedrock-invocationMetrics") or counted or _titan(document)
    # A model's own count is more than Bedrock's where the model used tools.
    return _total(found or counted or {})


def _in_headers(headers: Mapping[str, str]) -> dict[str, Any] | None:
    """What Bedrock counted of a model's own document, by the names that it has in a stream."""
    counts = {}
    for name, count in headers.items():
        if name.startswith("x-amzn-bedrock-") and name.endswith("-token-count"):
            first, *words = name.removeprefix("x-amzn-bedrock-").split("-")
            counts[first + "".join(word.title() for word in words)] = int(count)
    return counts or None


def _documents(recording: Recording) -> Iterator[dict[str, Any]]:
    if "eventstream" in recording.headers["content-type"]:
        for _, payload in frames(recording.payload):
            document = json.loads(payload)
            yield json.loads(b64decode(document["bytes"])) if "bytes" in document else document
        return
    text = recording.payload.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if any(line.startswith("data:") for line in lines):
        candidates = [line[5:] for line in lines if line.startswith("data:")]
    else:
        candidates = lines if recording.stream else [text]
    for candidate in candidates:
        try:
            document = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(document, dict):
            yield document


def _usage(document: dict[str, Any]) -> dict[str, Any] | None:
    inner = (document.get(name) for name in ("x_groq", "response", "message", "delta"))
    for place in (document, *inner):
        for name in ("usage", "meta"):
            if isinstance(place, dict) and isinstance(place.get(name), dict):
                return place[name]
    return None


def _titan(document: dict[str, Any]) -> dict[str, Any] | None:
    """What an embedding of Amazon's used, which came without headers."""
    return {"inputTokenCount": document["inputTextTokenCount"]} if "inputTextTokenCount" in document else None


def _total(usage: dict[str, Any]) -> Used | None:
    if any(name.startswith(("inputToken", "outputToken")) for name in usage):
        output = _amazon(usage, "outputToken")
        kinds = ("inputToken", "cacheReadInputToken", "cacheWriteInputToken")
        return Used(sum(_amazon(usage, kind) for kind in kinds) + output, output)
    usage = usage.get("billed_units", usage)  # Cohere reads more tokens than it bills
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


def _amazon(usage: dict[str, Any], kind: str) -> int:
    """A count of Amazon's, which has one of two names, and sometimes both."""
    return usage.get(f"{kind}s") or usage.get(f"{kind}Count") or 0


def _input(usage: dict[str, Any]) -> int:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name) or 0 for name in names)
