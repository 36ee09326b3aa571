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
    """Tokens that the provider says it billed. `total` counts input and output; the rest are parts of these."""

    total: int
    output: int | None
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


def used(recording: Recording) -> Used | None:
    """The usage in the recorded response, or `None` when there is none."""
    if recording.status >= 400 or recording.operation == "cachedContents":  # whose tokens are kept, not read
        return None
    counted = _in_headers(recording.headers)
    found: dict[str, Any] = {}
    for document in () if counted else _documents(recording):
        # A stream of Anthropic's begins with the input and later says only what has changed.
        found |= {key: value for key, value in (_usage(document) or {}).items() if value is not None}
        counted = document.get("amazon-bedrock-invocationMetrics") or counted or _beside_answer(document)
        counted = _traced(document, counted or {}) or counted
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
            try:
                yield json.loads(b64decode(document["bytes"])) if "bytes" in document else document
            except ValueError:
                continue  # an agent's words
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
        # Vertex AI's own client, which asks for enums as numbers, reads a list as a stream; google-genai does not.
        listed = document if isinstance(document, list) and "enum-encoding" in recording.url.query else [document]
        yield from (one for one in listed if isinstance(one, dict))


def _usage(document: dict[str, Any]) -> dict[str, Any] | None:
    if isinstance(meta := document.get("usageMetadata"), dict):
        return _gemini(meta)
    inner = (document.get(name) for name in ("x_groq", "response", "message", "delta", "interaction"))
    for place in (document, *inner):
        for name in ("usage", "meta"):
            if isinstance(place, dict) and isinstance(place.get(name), dict):
                return place[name]
    return None


def _traced(document: dict[str, Any], before: dict[str, Any]) -> dict[str, Any] | None:
    """What the models of an agent have used so far, with what one step of its trace says."""
    steps = document.get("trace") or {}
    for step in steps.values() if isinstance(steps, dict) else ():
        usage = (
            step.get("modelInvocationOutput", {}).get("metadata", {}).get("usage") if isinstance(step, dict) else None
        )
        if usage:
            return {name: before.get(name, 0) + usage[name] for name in ("inputTokens", "outputTokens")}
    return None


def _gemini(meta: dict[str, Any]) -> dict[str, Any]:
    """Gemini's usage by OpenAI's names: thoughts are beside the candidates, and what tools read beside the prompt."""
    thoughts = meta.get("thoughtsTokenCount", 0)
    return {
        "input_tokens": meta.get("promptTokenCount", 0) + meta.get("toolUsePromptTokenCount", 0),
        "input_tokens_details": {"cached_tokens": meta.get("cachedContentTokenCount", 0)},
        "output_tokens": meta.get("candidatesTokenCount", 0) + thoughts,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": meta.get("totalTokenCount"),
    }


def _interaction(usage: dict[str, Any]) -> dict[str, Any]:
    """Usage of one of Gemini's interactions, likewise."""
    thoughts = usage.get("total_thought_tokens", 0)
    return {
        "input_tokens": usage.get("total_input_tokens", 0) + usage.get("total_tool_use_tokens", 0),
        "input_tokens_details": {"cached_tokens": usage.get("total_cached_tokens", 0)},
        "output_tokens": usage["total_output_tokens"] + thoughts,
        "output_tokens_details": {"reasoning_tokens": thoughts},
        "total_tokens": usage.get("total_tokens"),
    }


def _beside_answer(document: dict[str, Any]) -> dict[str, Any] | None:
    """What an embedding of Amazon's used, which came without headers, or an answer of Ollama's."""
    if "inputTextTokenCount" in document:
        return {"inputTokenCount": document["inputTextTokenCount"]}
    names = {"prompt_eval_count": "input_tokens", "eval_count": "output_tokens"}
    return {name: document[theirs] for theirs, name in names.items() if theirs in document} or None


_CACHE_READ = (
    *("prompt_tokens_details.cached_tokens", "input_tokens_details.cached_tokens", "num_cached_tokens"),
    *("prompt_cache_hit_tokens", "cache_read_input_tokens", "cacheReadInputTokens", "cacheReadInputTokenCount"),
)
_CACHE_WRITE = (
    *("prompt_tokens_details.cache_write_tokens", "input_tokens_details.cache_write_tokens"),
    *("cache_creation_input_tokens", "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
)
_REASONING = (
    *("completion_tokens_details.reasoning_tokens", "output_tokens_details.reasoning_tokens", "reasoning_tokens"),
    "output_tokens_details.thinking_tokens",
)
_INPUT = ("prompt_tokens", "input_tokens", "inputTokens", "inputTokenCount")
_OUTPUT = ("completion_tokens", "output_tokens", "outputTokens", "outputTokenCount")


def _total(usage: dict[str, Any]) -> Used | None:
    usage = _interaction(usage) if "total_output_tokens" in usage else usage
    usage = usage.get("billed_units", usage)  # Cohere reads more tokens than it bills
    if not any(name in usage for name in (*_INPUT, *_OUTPUT, "total_tokens")):
        return None
    parts = [usage]
    # What a server-side compaction used is said beside the totals, not in them.
    parts += [part for part in usage.get("iterations") or () if part.get("type") == "compaction"]
    read, write, into, output = (
        sum(_count(part, names) for part in parts) for names in (_CACHE_READ, _CACHE_WRITE, _INPUT, _OUTPUT)
    )
    total = usage.get("total_tokens")
    if not isinstance(total, int):  # Anthropic's and Amazon's counts leave out what was cached
        total = into + read + write + output
    said = output if any(name in usage for name in _OUTPUT) else None
    # Some providers say more of a part than of the whole.
    return Used(total, said, min(read, total - output), write, min(_count(usage, _REASONING), output))


def _count(usage: dict[str, Any], names: tuple[str, ...]) -> int:
    """The first of these counts that is there and is not zero: some are said by two names."""
    for name in names:
        value: Any = usage
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value:
            return int(value)
    return 0
