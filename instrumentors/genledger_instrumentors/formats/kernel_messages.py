"""Semantic Kernel's messages: what its agents are asked, and what they answer.

https://learn.microsoft.com/en-us/semantic-kernel/
"""

from __future__ import annotations

from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.pricing.getters import field
from genledger_semconv import attributes as A


def read_asked(messages: Any) -> Content:
    """Return what an agent is asked: a text, a message, or a list of these."""
    given = messages if isinstance(messages, (list, tuple)) else [messages]
    return {A.GEN_AI_INPUT_MESSAGES: [_message(one, "user") for one in given if one is not None]}


def read_answered(item: Any) -> Content:
    """Return what an agent answers: a response, or the last one of a stream."""
    return {A.GEN_AI_OUTPUT_MESSAGES: [{**_message(field(item, "message"), "assistant"), "finish_reason": "stop"}]}


def _message(message: Any, role: str) -> dict[str, Any]:
    said = field(field(message, "role"), "value") or role
    return {"role": str(said), "parts": [text_part(str(message))]}
