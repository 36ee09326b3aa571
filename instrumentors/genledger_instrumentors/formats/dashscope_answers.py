"""Answers of Alibaba's Model Studio in its own format: an `output` with choices or a text, beside a `usage`.

https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.ceiling import length_of
from genledger.engine.operation import Body, listed
from genledger.pricing.getters import field

from .cohere_documents import RERANK as COHERE_RERANK
from .openai_chat import CHAT as OPENAI_CHAT
from .openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS


class _Choice:
    def __init__(self) -> None:
        self.texts = {"content": "", "reasoning_content": ""}
        self.tool_calls: Any = None
        self.finish_reason: str | None = None


def _said(content: Any) -> str:
    """Return the text of a message, whose content may be a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part for one in listed(content) if isinstance(part := field(one, "text"), str))


class Answers:
    """Puts answers together: each has all that was generated, unless the request asks for what is new only."""

    def __init__(self, body: Body, keep: bool) -> None:
        self._incremental = body.get("incremental_output") is True
        self._choices: dict[int, _Choice] = {}
        self._usage: Any = None
        self._id: Any = None

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more answers."""
        for answer in chunks:
            self._id = field(answer, "request_id") or self._id
            self._usage = field(answer, "usage") or self._usage
            output = field(answer, "output")
            choices = listed(field(output, "choices"))
            for place, choice in enumerate(choices):
                index = field(choice, "index")
                self._take(index if isinstance(index, int) else place, choice, field(choice, "message"))
            if not choices and isinstance(text := field(output, "text"), str):
                self._take(0, output, {"content": text})

    def _take(self, index: int, choice: Any, message: Any) -> None:
        known = self._choices.setdefault(index, _Choice())
        for name, before in known.texts.items():
            said = _said(field(message, name))
            known.texts[name] = before + said if self._incremental else said or before
        known.tool_calls = field(message, "tool_calls") or known.tool_calls
        reason = field(choice, "finish_reason")
        if isinstance(reason, str) and reason != "null":
            known.finish_reason = reason

    def response(self) -> Mapping[str, Any]:
        """Return what was received, shaped like a chat completion."""
        return {
            "id": self._id,
            "usage": self._usage,
            "choices": [
                {"finish_reason": one.finish_reason, "message": {**one.texts, "tool_calls": one.tool_calls}}
                for _, one in sorted(self._choices.items())
            ],
        }

    def text_length(self) -> int:
        """Return bytes generated so far."""
        return sum(length_of(text) for one in self._choices.values() for text in one.texts.values())

    @property
    def counted(self) -> bool:
        """Return whether the usage is that of the whole answer: it comes with each part, as it is then."""
        return self._usage is not None and (self.complete or not self._choices)

    @property
    def complete(self) -> bool:
        """Return whether every choice that began has ended."""
        return all(one.finish_reason for one in self._choices.values())


CHAT = OPENAI_CHAT._replace(accumulate=Answers, limit=("max_tokens",))
EMBEDDINGS = OPENAI_EMBEDDINGS._replace(
    fields={**OPENAI_EMBEDDINGS.fields, "dimension": OPENAI_EMBEDDINGS.fields["dimensions"]}, accumulate=Answers
)
RERANK = COHERE_RERANK._replace(accumulate=Answers, response=None, largest=None)
