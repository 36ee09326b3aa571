"""Haystack's spans: which of them are steps, and what those are given and return.

https://docs.haystack.deepset.ai/docs/tracing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.engine.steps import Kind
from genledger.engine.to_json import plain
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.stepped_functions import Described
from genledger_semconv import attributes as A

PIPELINES = frozenset({"haystack.pipeline.run", "haystack.async_pipeline.run"})
"""The spans that may be open while an application reads a generator."""

_AGENT = "Agent"
_HIDDEN = ("embedding", "state_schema", "streaming_callback")


def read_operation(operation: str, tags: Mapping[str, Any], component: str | None, call: Any) -> Described | None:
    """Return the step that a span is; `None` for plumbing.

    Args:
        operation: Of the span.
        tags: That it begins with.
        component: Name in the pipeline of the component around it, if there is one.
        call: The model's call of the tool, if it is a tool's.
    """
    if operation in PIPELINES:
        name = (tags.get("haystack.pipeline.metadata") or {}).get("name")
        asked = _message("user", tags.get("haystack.pipeline.input_data"))
        return Described("workflow", str(name or "Pipeline"), {}, {A.GEN_AI_INPUT_MESSAGES: [asked]})
    if operation == "haystack.component.run":
        kind, name = str(tags.get("haystack.component.type")), str(tags.get("haystack.component.name"))
        if kind == _AGENT:
            return None
        return Described("retrieval", kind) if kind.endswith("Retriever") else Described("task", name)
    if operation == "haystack.agent.run":
        return Described("agent", component or _AGENT)
    if operation == "haystack.agent.step.tool":
        name, arguments = str(tags.get("haystack.tool.name")), getattr(call, "arguments", None)
        attributes = {
            A.GEN_AI_TOOL_DESCRIPTION: tags.get("haystack.tool.description"),
            A.GEN_AI_TOOL_CALL_ID: getattr(call, "id", None),
        }
        return Described("tool", name, attributes, None, tool_signature(name, arguments))
    if operation == "haystack.agent.hook.human_in_the_loop.strategy":
        return Described("task", "human_in_the_loop")
    return None


def read_component(operation: str, tags: Mapping[str, Any]) -> str | None:
    """Return the name of the component that a span is the run of."""
    return str(tags.get("haystack.component.name")) if operation == "haystack.component.run" else None


def read_content(kind: Kind, tag: str, value: Any) -> Content:
    """Return the content of a step, as one of its tags has it."""
    given = tag.endswith(".input")
    if kind == "agent":
        return (
            {A.GEN_AI_INPUT_MESSAGES: _messages(value)} if given else {A.GEN_AI_OUTPUT_MESSAGES: _messages(value)[-1:]}
        )
    if kind == "retrieval":
        return (
            {A.GEN_AI_RETRIEVAL_QUERY_TEXT: value.get("query")}
            if given
            else {A.GEN_AI_RETRIEVAL_DOCUMENTS: _documents(value)}
        )
    if kind == "tool":
        return {A.GEN_AI_TOOL_CALL_ARGUMENTS: value} if given else {A.GEN_AI_TOOL_CALL_RESULT: {"result": _text(value)}}
    if kind == "task":
        return {A.GENLEDGER_TASK_ARGUMENTS if given else A.GENLEDGER_TASK_RESULT: _readable(value)}
    return {}


def is_failure(tag: str, handled: BaseException | None) -> bool:
    """Return whether a tag says that the error being handled is the tool's. Before 3.4, only its output says so."""
    failed = type(handled).__name__ == "ToolInvocationError" and tag == "haystack.agent.step.tool.output"
    return failed or tag == "haystack.tool.error"


def read_failure(error: BaseException | None) -> BaseException | None:
    """Return what a component failed with, which pipelines wrap."""
    wraps = type(error).__name__ in ("PipelineRuntimeError", "ToolInvocationError")
    return error.__cause__ or error if error is not None and wraps else error


def _messages(value: Any) -> list[dict[str, Any]]:
    found = [one for one in value.get("messages") or () if _role(one)]
    return [_message(_role(one), one) for one in found]


def _message(role: str, value: Any) -> dict[str, Any]:
    more = {"finish_reason": "stop"} if role == "assistant" else {}
    return {"role": role, "parts": [text_part(_text(value))], **more}


def _role(message: Any) -> str:
    role = getattr(message, "role", None)
    return str(getattr(role, "value", role) or "")


def _text(value: Any) -> str:
    said = getattr(value, "text", None)
    if isinstance(said, str):
        return said
    calls = getattr(value, "tool_calls", None) or getattr(value, "tool_call_results", None)
    return str([_readable(one) for one in calls] if calls else _readable(value))


def _documents(output: Any) -> list[dict[str, Any]]:
    return [
        {name: getattr(one, name, None) for name in ("id", "content", "score")} for one in output.get("documents") or ()
    ]


def _readable(value: Any) -> Any:
    """Return what a person would read of a value: no vectors."""
    data = plain(value)
    if isinstance(data, Mapping):
        return {str(name): _readable(one) for name, one in data.items() if str(name) not in _HIDDEN}
    if isinstance(data, (list, tuple)):
        return [_readable(one) for one in data]
    return data if isinstance(data, (str, int, float, bool)) or data is None else str(data)
