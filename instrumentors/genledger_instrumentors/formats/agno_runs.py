"""Agno's runs, tool calls and documents: what they are, what they say, and the errors that they tell of.

https://docs.agno.com/reference/agents/run-response
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.stepped_functions import Described, SteppedCall
from genledger.pricing.getters import field
from genledger_semconv import attributes as A


def describe_agent(instance: Any, given: Mapping[str, Any]) -> Described:
    """Return what a run of an agent or team is."""
    return Described(
        "agent",
        str(field(instance, "name") or type(instance).__name__),
        {
            A.GEN_AI_AGENT_DESCRIPTION: text(field(instance, "description")),
            A.GEN_AI_CONVERSATION_ID: text(_session(instance, given)),
        },
        lambda: {A.GEN_AI_INPUT_MESSAGES: messages(given.get("input"), "user")},
        user=given.get("user_id") or field(instance, "user_id"),
        session=_session(instance, given),
        carried=True,
    )


def describe_workflow(instance: Any, given: Mapping[str, Any]) -> Described:
    """Return what a run of a workflow is."""
    return Described(
        "workflow",
        str(field(instance, "name") or type(instance).__name__),
        {A.GEN_AI_CONVERSATION_ID: text(_session(instance, given))},
        lambda: {A.GEN_AI_INPUT_MESSAGES: messages(given.get("input"), "user")},
        user=given.get("user_id") or field(instance, "user_id"),
        session=_session(instance, given),
        carried=True,
    )


def describe_workflow_step(instance: Any, given: Mapping[str, Any]) -> Described:
    """Return what a step of a workflow is."""
    function = callable(field(instance, "executor"))
    return Described("task", str(field(instance, "name") or "step"), carried=not function)


def describe_hooks(instance: Any, given: Mapping[str, Any]) -> Described | None:
    """Return what the hooks of a run are, if it has some: guardrails, or functions of the application."""
    hooks = given.get("hooks") or ()
    names = [type(owner).__name__ if (owner := _owner(one)) is not None else _function(one) for one in hooks]
    return Described("task", ", ".join(names)) if names else None


def describe_tool(instance: Any, given: Mapping[str, Any]) -> Described:
    """Return what a `FunctionCall` is."""
    arguments = field(instance, "arguments") or {}
    function = field(instance, "function")
    name = str(field(function, "name") or "tool")
    return Described(
        "tool",
        name,
        {
            A.GEN_AI_TOOL_CALL_ID: text(field(instance, "call_id")),
            A.GEN_AI_TOOL_DESCRIPTION: text(field(function, "description")),
        },
        {A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments},
        signature=tool_signature(name, json.dumps(arguments, sort_keys=True, default=str)),
    )


def describe_retrieval(instance: Any, given: Mapping[str, Any]) -> Described:
    """Return what a search of a knowledge base is."""
    name = str(field(instance, "name") or type(instance).__name__)
    return Described("retrieval", name, content={A.GEN_AI_RETRIEVAL_QUERY_TEXT: str(given.get("query"))}, carried=True)


def finish_run(call: SteppedCall, result: Any) -> BaseException | None:
    """Write what a run answered; return the error that it tells of."""
    events = result if isinstance(result, list) else [result]
    own = [one for one in events if field(one, "nested_depth") in (None, 0)]
    said = [one for one in own if not isinstance(result, list) or str(field(one, "event")).endswith("RunContent")]
    call.write(
        lambda: {
            A.GEN_AI_OUTPUT_MESSAGES: messages("".join(str(field(one, "content") or "") for one in said), "assistant")
        }
    )
    for one in own[-1:]:
        if field(one, "status") == "ERROR" or str(field(one, "event")).endswith(("RunError", "WorkflowError")):
            return call.told(field(one, "content") or field(one, "error"))
    return None


def finish_tool(call: SteppedCall, result: Any) -> BaseException | None:
    """Write what a tool returned; a generator that it returned is read later, and the tool's step goes on in it."""
    if isinstance(result, list):
        call.write(lambda: {A.GEN_AI_TOOL_CALL_RESULT: "".join(map(str, result))})
        return None
    if field(result, "status") == "failure":
        return call.told(field(result, "error"))
    returned = field(result, "result")
    lazy = call.goes_on(returned)
    if lazy is not returned:
        result.result = call.instance.result = lazy
    else:
        call.write(lambda: {A.GEN_AI_TOOL_CALL_RESULT: str(returned)})
    return None


def finish_retrieval(call: SteppedCall, result: Any) -> None:
    """Write the documents that were found."""
    found = [{"id": text(field(one, "id")), "content": field(one, "content")} for one in result or ()]
    call.write({A.GEN_AI_RETRIEVAL_DOCUMENTS: found})


def finish_workflow_step(call: SteppedCall, result: Any) -> BaseException | None:
    """Return the error that the output of a workflow's step tells of."""
    last = result[-1] if isinstance(result, list) and result else result
    failed = field(last, "success") is False
    return call.told(field(last, "error") or field(last, "content")) if failed else None


def messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Return what goes into or comes out of a run as messages."""
    found = value if isinstance(value, list) else [value]
    return [
        {
            "role": str(field(one, "role") or role),
            "parts": [{"type": "text", "content": str(field(one, "content") or one)}],
        }
        for one in found
    ]


def text(value: Any) -> str:
    """Return an id or a description as text; empty if there is none."""
    return "" if value is None else str(value)


def _session(instance: Any, given: Mapping[str, Any]) -> Any:
    return given.get("session_id") or field(instance, "session_id")


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", None)


def _function(hook: Any) -> str:
    return str(getattr(hook, "__name__", type(hook).__name__))
