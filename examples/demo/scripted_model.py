"""A model that says what it was told to say, and counts tokens the way providers bill them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_TOKEN = re.compile(r"\s?\w{1,6}|\s?[^\w\s]|\s")

CACHE_MINIMUM = 1024
"""Tokens below which a prefix is not cached, as both providers' prompt caching guides say of most models."""

CACHE_STEP = 128
"""OpenAI caches a prefix in steps of this many tokens."""

SNAPSHOTS = {
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
"""The dated name with which a provider answers to an alias; every other name is answered as it was asked."""


def tokenize(text: str) -> list[str]:
    """Split `text` into pieces of a plausible token's size; joined, they are `text` again."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the request lets the model call. `parameters` is its JSON schema."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompt of a request in any wire format.

    `text` is all that the model reads, in order; `question` the last thing its user said. `tools` may be
    called now. `schema` is the JSON schema that the answer has to follow, if any. `breakpoints` are the
    lengths of `text`, in characters, at which Anthropic's `cache_control` marks stand; OpenAI has none and
    caches by itself.
    """

    model: str
    text: str
    question: str
    tools: Sequence[Tool] = ()
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    breakpoints: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts. `input` includes `cache_read` and `cache_write`, `output` includes `reasoning`."""

    input: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True)
class Completion:
    """Output of the model: the pieces of a text (one token each), or the JSON arguments for `tool`."""

    pieces: Sequence[str]
    tool: str | None
    finish: Literal["stop", "length", "tool"]
    tokens: Tokens

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def fill(schema: Mapping[str, Any], question: str) -> Any:
    """A value that `schema` allows.

    A string is the part of `question` that fits its `pattern`, or the first word with a digit, or the last.
    """
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "object":
        return {name: fill(part, question) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema.get("items", {}), question)]
    if kind in ("integer", "number"):
        found = re.search(r"\d+", question)
        return int(found.group()) if found else 1
    if kind == "boolean":
        return True
    fits = re.search(schema["pattern"], question) if "pattern" in schema else None
    if fits:
        return fits.group()
    words = re.findall(r"[\w-]+", question) or ["nothing"]
    return next((word for word in words if any(character.isdigit() for character in word)), words[-1])


class ScriptedModel:
    """Answers by the content of the request alone; only the prompt cache remembers earlier requests."""

    def __init__(self, replies: Mapping[str, str], arguments: Mapping[str, Mapping[str, Any]], rounds: int = 1) -> None:
        self.rounds = rounds
        self._replies = replies
        self._arguments = arguments
        self._lock = threading.Lock()
        self._cached: set[tuple[str, int]] = set()

    def complete(self, prompt: Prompt) -> Completion:
        """Call the first tool on offer, or follow the schema, or give the reply scripted for the question."""
        tool = prompt.tools[0] if prompt.tools else None
        if tool is not None:
            given = self._arguments.get(tool.name)
            pieces = tokenize(json.dumps(fill(tool.parameters, prompt.question) if given is None else given))
        elif prompt.schema is not None:
            pieces = tokenize(json.dumps(fill(prompt.schema, prompt.question)))
        else:
            pieces = tokenize(self._reply(prompt.question))
        finish: Literal["stop", "length", "tool"] = "stop" if tool is None else "tool"
        # Reasoning models think before they answer, and bill the thoughts as output, within the same limit.
        reasoning = 64 * (1 + len(prompt.question) % 3) if re.match(r"gpt-5|o\d", prompt.model) else 0
        if prompt.max_tokens is not None and len(pieces) + reasoning > prompt.max_tokens:
            reasoning = min(reasoning, prompt.max_tokens)
            pieces, finish = pieces[: prompt.max_tokens - reasoning], "length"
        read, written = self._cache(prompt)
        tokens = Tokens(len(tokenize(prompt.text)), read, written, len(pieces) + reasoning, reasoning)
        return Completion(pieces, tool.name if tool is not None else None, finish, tokens)

    def _reply(self, question: str) -> str:
        for part, reply in self._replies.items():
            if part in question:
                return reply
        return f"You asked: {' '.join(question.split())[:200]} I have nothing to add to that."

    def _cache(self, prompt: Prompt) -> tuple[int, int]:
        if prompt.breakpoints is None:
            tokens = tokenize(prompt.text)
            ends = range(CACHE_MINIMUM, len(tokens) + 1, CACHE_STEP)
            prefixes = [(end, "".join(tokens[:end])) for end in ends]
        else:
            texts = [prompt.text[:end] for end in prompt.breakpoints]
            prefixes = [(len(tokenize(text)), text) for text in texts]
            prefixes = [(count, text) for count, text in prefixes if count >= CACHE_MINIMUM]
        keys = [(prompt.model, hash(text)) for _, text in prefixes]
        with self._lock:
            read = max(
                (count for (count, _), key in zip(prefixes, keys, strict=True) if key in self._cached),
                default=0,
            )
            self._cached.update(keys)
        longest = max((count for count, _ in prefixes), default=0)
        return read, 0 if prompt.breakpoints is None else longest - read
