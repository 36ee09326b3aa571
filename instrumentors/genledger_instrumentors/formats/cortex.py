"""Snowflake Cortex: what its REST API is asked and answers, and what its functions do in a warehouse.

https://docs.snowflake.com/en/developer-guide/snowflake-rest-api/reference/cortex-inference. The REST API speaks
OpenAI's chat format, with tools of its own. A function in a warehouse does not say what it consumed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.operation import Body, Content, listed, text
from genledger.pricing.getters import field, path
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .openai_chat import CHAT as OPENAI_CHAT
from .openai_chat import COMPLETIONS, read_output
from .openai_chat import read_response as read_completion
from .openai_chat_stream import Chunks
from .openai_embeddings import EMBEDDINGS
from .openai_fields import read_answer


def read_request(given: Mapping[str, Any]) -> Body:
    """Return a request with its tools as OpenAI's, and with what a message says in one field."""
    messages = [
        {**one, "role": one.get("role") or "user", "content": one.get("content") or one.get("content_list")}
        for one in listed(given.get("messages"))
        if isinstance(one, Mapping)
    ]
    tools = [{"type": "function", "function": field(one, "tool_spec")} for one in listed(given.get("tools"))]
    return {**given, "messages": messages, "tools": tools or None}


def _call(use: Any, index: int = 0) -> dict[str, Any]:
    function = {"name": field(use, "name"), "arguments": field(use, "input")}
    return {"index": index, "id": field(use, "tool_use_id"), "function": function}


def read_result(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an answer with the tools that it asks for as OpenAI's."""
    made = []
    for choice in listed(answer.get("choices")):
        message = field(choice, "message")
        uses = [one for one in listed(field(message, "content_list")) if field(one, "type") == "tool_use"]
        calls = [_call(field(one, "tool_use")) for one in uses]
        made.append({**choice, "message": {**message, "tool_calls": calls}} if isinstance(message, Mapping) else choice)
    return {**answer, "choices": made}


class Deltas(Chunks):
    """Puts the events of a stream together: nothing but its end marks the end, and usage may come with every event."""

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more events, those about tools as OpenAI's."""
        super().fold([self._told(event) for event in chunks if isinstance(event, Mapping)])

    def _told(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        choices = listed(event.get("choices"))
        if not any(path(one, "delta", "type") == "tool_use" for one in choices):
            return event
        told = [
            {**one, "delta": {"tool_calls": [_call(field(one, "delta"), index=at)]}} for at, one in enumerate(choices)
        ]
        return {**event, "choices": told}

    @property
    def counted(self) -> bool:
        """Return whether the usage so far counts what came."""
        return field(self._usage, "completion_tokens") is not None

    @property
    def complete(self) -> bool | None:
        """Return `None`: no event marks the end."""
        return None


def read_response(answer: Any, attributes: Any) -> None:
    """Read the answering model, and how it ended where that is said: most models' answers do not say it."""
    told = any(text(field(one, "finish_reason")) for one in listed(field(answer, "choices")))
    (read_completion if told else read_answer)(answer, attributes)


def read_said(answer: Any) -> Content:
    """Return what was generated; an answer that does not say how it ended has simply stopped."""
    messages = read_output(answer)[A.GEN_AI_OUTPUT_MESSAGES]
    ended = [{**one, "finish_reason": "stop"} if one["finish_reason"] == "error" else one for one in messages]
    return {A.GEN_AI_OUTPUT_MESSAGES: ended}


COMPLETE = OPENAI_CHAT._replace(
    accumulate=Deltas, response=read_response, output=read_said, limit=("max_tokens", "max_output_tokens"), choices=()
)

EMBED = EMBEDDINGS

FUNCTION = COMPLETIONS._replace(
    accumulate=None, response=None, output=read_said, limit=(), choices=(), fixed_model=True
)
"""A function in a warehouse that generates text, with a model that Snowflake chooses."""

TRANSLATE = FUNCTION._replace(name=S.TRANSLATION, family="operation")
