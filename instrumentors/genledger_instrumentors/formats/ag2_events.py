"""AG2's events: what an agent is asked and answers, and what its tools are given and give.

https://docs.ag2.ai/latest/docs/beta/
"""

from __future__ import annotations

from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.pricing.getters import field
from genledger_semconv import attributes as A


def read_parts(event: Any) -> list[Any]:
    """Return the texts and data that an event has; what is neither is left out."""
    parts = field(event, "parts") or ()
    found = [field(part, "content") or field(part, "data") for part in parts]
    return [one for one in found if one is not None and not isinstance(one, bytes)]


def read_request(event: Any) -> Content:
    """Return what an agent is asked."""
    return {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(str(one)) for one in read_parts(event)]}]}


def read_reply(reply: Any) -> Content:
    """Return what an agent answers."""
    message = {"role": "assistant", "parts": [text_part(str(field(reply, "body") or ""))], "finish_reason": "stop"}
    return {A.GEN_AI_OUTPUT_MESSAGES: [message]}


def read_arguments(event: Any) -> Content:
    """Return what a tool is given."""
    return {A.GEN_AI_TOOL_CALL_ARGUMENTS: event.serialized_arguments}


def read_tool_result(event: Any) -> Content:
    """Return what a tool gave."""
    parts = read_parts(field(event, "result"))
    return {A.GEN_AI_TOOL_CALL_RESULT: {"result": parts[0] if len(parts) == 1 else parts}}
