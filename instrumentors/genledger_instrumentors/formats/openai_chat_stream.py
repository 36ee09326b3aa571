"""The stream of a chat completion, put together from its chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, listed, text
from genledger.pricing.getters import field, fields_of
from genledger.pricing.readers.usage_block import counts_all, usage_block

from .openai_fields import tool_calls

_REPORTED_BESIDE = ("cost", "copilot_usage", "usage_breakdown")
"""Fields of a last chunk: in which Venice and GitHub Copilot report the cost, and Groq the models of a system."""

_HOLDS_REPORTS = frozenset((*_REPORTED_BESIDE, "x_groq"))

_BESIDE_TEXT = ("tool_calls", "reasoning_content", "reasoning", "refusal", "function_call", "executed_tools")
"""What a delta may have beside its text."""


class _Choice:
    __slots__ = ("executed", "finish_reason", "length", "pieces", "reasoning", "refusal", "role", "tools", "tools_at")

    def __init__(self) -> None:
        self.role = "assistant"
        self.pieces: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.tools: list[dict[str, Any]] = []
        self.executed: dict[Any, Any] = {}
        self.tools_at: dict[Any, dict[str, Any]] = {}
        self.length = 0
        self.finish_reason: str | None = None


class Chunks:
    """Puts the chunks of a chat stream together; keeps the text only when content is captured."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._keep = keep
        self._single = body.get("n") in (None, 1)
        self._choices: dict[int, _Choice] = {}
        self._head: Any = None
        self._tier: Any = None
        self._usage: Any = None
        self._final = False
        self._reported: dict[str, Any] = {}

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more chunks, typed or plain; one that is malformed is passed over."""
        if not self._choices:
            self._take(chunks[:1])
            chunks = chunks[1:]
        self._take(chunks[self._skim(chunks) :])

    def _skim(self, chunks: Sequence[Any]) -> int:
        """Take in the typed chunks at the beginning that are nothing but text; gives their number."""
        choice = self._choices.get(0)
        if choice is None or not self._single:
            return 0
        pieces: list[str] = []
        try:
            for chunk in chunks:
                parts = chunk.choices
                delta = parts[0].delta if parts else None
                if delta is None or not (piece := delta.content) or delta.tool_calls or delta.__pydantic_extra__:
                    break
                pieces.append(piece)
            if pieces:
                end = chunks[len(pieces) - 1]
                if end.usage is not None or end.choices[0].finish_reason is not None:
                    pieces.pop()
            said = "".join(pieces)
        except (AttributeError, KeyError, TypeError):
            return 0
        choice.length += length_of(said)
        if self._keep:
            choice.pieces.append(said)
        return len(pieces)

    def _take(self, chunks: Sequence[Any]) -> None:
        choices = self._choices
        for chunk in chunks:
            try:
                fields = chunk if type(chunk) is dict else chunk.__dict__
                parts = fields.get("choices") or ()
                for part in parts:
                    its = part if type(part) is dict else part.__dict__
                    choice = choices.get(its.get("index") or 0)
                    if choice is None:
                        choice = choices[its.get("index") or 0] = _Choice()
                        self._begin(chunk, fields)
                    # A chunk that lacks a field may have become an object of another class, where this one is extra.
                    delta = its.get("delta") or field(part, "delta")
                    said = its if delta is None else delta if type(delta) is dict else delta.__dict__
                    content = said.get("text" if delta is None else "content")
                    if type(content) is str:
                        choice.length += length_of(content)
                        if self._keep:
                            choice.pieces.append(content)
                    elif content:
                        self._parts(choice, content)
                    beside = any(map(said.get, _BESIDE_TEXT)) or getattr(delta, "__pydantic_extra__", None)
                    if delta is not None and (not content or beside):
                        self._rest(choice, delta)
                    if its.get("finish_reason") is not None:
                        choice.finish_reason = its["finish_reason"]
                        self._end(chunk, fields)
                if not parts or fields.get("usage") is not None:
                    self._begin(chunk, fields)
                    self._end(chunk, fields)
            except (AttributeError, KeyError, TypeError):
                continue

    def _begin(self, chunk: Any, fields: Mapping[str, Any]) -> None:
        # Azure sends a first chunk with filter results only, without id and model.
        if self._head is None and fields.get("id"):
            self._head = chunk

    def _end(self, chunk: Any, fields: Mapping[str, Any]) -> None:
        usage = usage_block(chunk)
        if usage is not None:
            self._usage = usage
            self._final = not any(field(field(part, "delta"), "content") for part in listed(fields.get("choices")))
        beside = fields_of(chunk)
        if not _HOLDS_REPORTS.isdisjoint(beside):
            for name in _REPORTED_BESIDE:
                value = beside.get(name) or field(beside.get("x_groq"), name)
                if value is not None:
                    self._reported[name] = value
        if fields.get("service_tier") is not None:
            self._tier = fields["service_tier"]

    def _parts(self, choice: _Choice, parts: Any) -> None:
        """Content in parts, as Mistral's reasoning models send it."""
        for part in listed(parts):
            inner = field(part, "thinking")
            thought = inner is not None
            for piece in listed(inner) if thought else (part,):
                said = text(field(piece, "text"))
                if said is not None:
                    choice.length += length_of(said)
                    if self._keep:
                        (choice.reasoning if thought else choice.pieces).append(said)

    def _rest(self, choice: _Choice, delta: Any) -> None:
        for name, pieces in (
            ("reasoning_content", choice.reasoning),
            ("reasoning", choice.reasoning),
            ("refusal", choice.refusal),
        ):
            piece = field(delta, name)
            if isinstance(piece, str):
                choice.length += length_of(piece)
                if self._keep:
                    pieces.append(piece)
                break
        for ran in listed(field(delta, "executed_tools")):
            choice.executed[field(ran, "index")] = ran  # Groq's: when it begins, and again with what came of it
        for call in tool_calls(delta):
            function = field(call, "function")
            name = text(field(function, "name")) or ""
            arguments = text(field(function, "arguments")) or ""
            choice.length += length_of(name) + length_of(arguments)
            if self._keep:
                tool = _tool(choice, field(call, "index"), text(field(call, "id")))
                tool["name"] += name
                tool["arguments"].append(arguments)

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion."""
        head = self._head
        return {
            "id": field(head, "id"),
            "model": field(head, "model"),
            "service_tier": self._tier,
            "system_fingerprint": field(head, "system_fingerprint"),
            "usage": self._usage,
            **self._reported,
            "choices": [self._choice(choice) for _, choice in sorted(self._choices.items(), key=_place)],
        }

    def _choice(self, choice: _Choice) -> dict[str, Any]:
        return {
            "finish_reason": choice.finish_reason,
            "text": "".join(choice.pieces),
            "message": {
                "role": choice.role,
                "content": "".join(choice.pieces) or None,
                "reasoning_content": "".join(choice.reasoning) or None,
                "refusal": "".join(choice.refusal) or None,
                "executed_tools": list(choice.executed.values()),
                "tool_calls": [
                    {
                        "id": tool["id"],
                        "function": {"name": tool["name"], "arguments": "".join(tool["arguments"])},
                    }
                    for tool in choice.tools
                ],
            },
        }

    def text_length(self) -> int:
        """Return bytes generated so far, in every choice."""
        return sum(choice.length for choice in self._choices.values())

    @property
    def counted(self) -> bool:
        """Return whether the provider has sent its usage, output included; some send it with each chunk until then."""
        return counts_all(self._usage) and bool(self._final or self.complete)

    @property
    def complete(self) -> bool | None:
        """Return whether every choice that began has ended."""
        return bool(self._choices) and all(choice.finish_reason for choice in self._choices.values())


def _tool(choice: _Choice, index: Any, identity: str | None) -> dict[str, Any]:
    """The call that a delta is about: one with an id of its own begins a call, whatever its index; others go on."""
    tool = choice.tools_at.get(index)
    if tool is None or (identity is not None and tool["id"] not in (None, identity)):
        tool = choice.tools_at[index] = {"id": None, "name": "", "arguments": []}
        choice.tools.append(tool)
    tool["id"] = identity or tool["id"]
    return tool


def _place(item: tuple[Any, _Choice]) -> int:
    return item[0] if isinstance(item[0], int) else 0
