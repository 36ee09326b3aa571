"""The spans of OpenAI's agents SDK: what they stand for, and what they say.

https://openai.github.io/openai-agents-python/ref/tracing/span_data/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from genledger.engine.operation import Content
from genledger.engine.outcome import ErrorEvent, error_type
from genledger.engine.steps import Kind
from genledger.engine.to_json import plain
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

from . import openai_chat as chat
from . import openai_responses as responses

NOTHING = "no-op"
"""The id of every trace and span that the SDK keeps nothing of."""


MODEL_CALLS = ("generation", "response")
"""The types of the spans of models' calls."""


class StepSpan(NamedTuple):
    """Step that a span stands for."""

    kind: Kind
    name: str


def type_of(data: Any) -> str | None:
    """Return the type of the data of a span: `None` of a trace, which has none."""
    return getattr(data, "type", None)  # `field` takes ten times as long for an object of a class like these


def read_step(data: Any, traced: bool) -> StepSpan | None:
    """Return the step that a span with this data is; `None` for plumbing, and for calls of models.

    Args:
        data: Of the span.
        traced: Whether the SDK records the span: it has spans of its own that hide others while it does not.
    """
    kind = type_of(data)
    if kind == "agent":
        return StepSpan("agent", _name(data) or "agent")
    if kind == "function":
        return StepSpan("tool", _name(data) or "function")
    if kind == "guardrail":
        return StepSpan("task", _name(data) or "guardrail")
    if kind == "handoff":
        return StepSpan("task", "handoff")
    if kind == "mcp_tools":
        return StepSpan("task", "list_tools")
    if kind == "custom" and traced:
        return StepSpan("task", _name(data) or "custom")
    return None


def read_name(data: Any) -> str | None:
    """Return the name of a span that is known only at its end."""
    kind = type_of(data)
    if kind == "handoff" and field(data, "to_agent"):
        return f"handoff {field(data, 'to_agent')}"
    if kind == "mcp_tools" and field(data, "server"):
        return f"list_tools {field(data, 'server')}"
    return None


def read_content(data: Any) -> Content:
    """Return what a span says at its end of what went into it and came out."""
    kind = type_of(data)
    if kind == "function":
        arguments, result = _parsed(field(data, "input")), plain(field(data, "output"))
        if result is not None and not isinstance(result, Mapping):
            result = {"result": result}
        found = {A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments, A.GEN_AI_TOOL_CALL_RESULT: result}
        return {name: value for name, value in found.items() if value is not None}
    if kind == "guardrail":
        return {A.GENLEDGER_TASK_RESULT: {"triggered": bool(field(data, "triggered"))}}
    if kind == "handoff":
        return {A.GENLEDGER_TASK_RESULT: {"from": field(data, "from_agent"), "to": field(data, "to_agent")}}
    if kind == "mcp_tools":
        return {A.GENLEDGER_TASK_RESULT: {"tools": field(data, "result")}}
    return {}


def read_exchange(data: Any) -> Content:
    """Return what a model was asked and what it answered, from the span of its call, whichever API it was called by."""
    given, said = field(data, "input") or (), field(data, "output") or ()
    if type_of(data) == "response":
        read: list[Content] = [responses.read_input({"input": given}), responses.read_output(field(data, "response"))]
    else:
        answer = {"choices": [{"message": message} for message in said]}
        read = [chat.read_input({"messages": given}), chat.read_output(answer)]
    return {name: content for one in read for name, content in one.items() if content}


def read_error(said: Mapping[str, Any], raised: BaseException | None) -> ErrorEvent:
    """Return an error that the SDK notes on a span.

    Args:
        said: What it notes.
        raised: The exception that it is about, if it is one.
    """
    return ErrorEvent({"type": error_type(raised) if raised is not None else "_OTHER", "message": said.get("message")})


def _name(data: Any) -> str:
    return str(getattr(data, "name", None) or "")


def _parsed(arguments: Any) -> Any:
    with suppress(TypeError, ValueError):
        return json.loads(arguments)
    return arguments
