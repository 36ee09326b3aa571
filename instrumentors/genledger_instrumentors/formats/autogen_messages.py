"""AutoGen's messages: what a team is asked, and what it answers.

https://microsoft.github.io/autogen/stable/
"""

from __future__ import annotations

from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.pricing.getters import field
from genledger_semconv import attributes as A


def read_task(task: Any) -> Content:
    """Return what a team is asked: a text, a message, or a list of messages."""
    given = task if isinstance(task, (list, tuple)) else [task]
    messages = [{"role": "user", "parts": [text_part(_text(one))]} for one in given if one is not None]
    return {A.GEN_AI_INPUT_MESSAGES: messages} if messages else {}


def read_result(result: Any) -> Content:
    """Return the last message of a `TaskResult`."""
    messages = field(result, "messages")
    if not isinstance(messages, (list, tuple)) or not messages:
        return {}
    message = {"role": "assistant", "parts": [text_part(_text(messages[-1]))], "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


def _text(message: Any) -> str:
    return message if isinstance(message, str) else str(field(message, "content") or "")
