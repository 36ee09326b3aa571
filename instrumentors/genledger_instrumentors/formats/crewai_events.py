"""CrewAI's events: the steps that they begin, and what they say of how those ended.

https://docs.crewai.com/en/concepts/event-listener
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from genledger.engine.operation import Content
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.stepped_functions import Described, ReportedError
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

Read = Callable[[Any, Any], Described]
"""`read(source, event)`: return what an event begins."""


def _crew(source: Any, event: Any) -> Described:
    return Described(
        "workflow", str(field(event, "crew_name") or "crew"), content=lambda: _input(field(event, "inputs"))
    )


def _flow(source: Any, event: Any) -> Described:
    return Described("workflow", str(field(event, "flow_name")), content=lambda: _input(field(event, "inputs")))


def _method(source: Any, event: Any) -> Described:
    return Described("task", str(field(event, "method_name")))


def _task(source: Any, event: Any) -> Described:
    return Described("task", str(field(source, "name") or "task"))  # its description is what the model is told


def _agent(source: Any, event: Any) -> Described:
    about = field(event, "agent") or field(event, "agent_info")
    return Described(
        "agent",
        str(field(about, "role") or "agent").strip(),
        {A.GEN_AI_AGENT_DESCRIPTION: str(field(about, "goal") or "").strip()},
        lambda: _input(field(event, "task_prompt") or field(event, "messages")),
    )


def _tool(source: Any, event: Any) -> Described:
    name, arguments = str(field(event, "tool_name")), field(event, "tool_args")
    return Described(
        "tool",
        name,
        content={A.GEN_AI_TOOL_CALL_ARGUMENTS: arguments},
        signature=tool_signature(name, json.dumps(arguments, sort_keys=True, default=str)),
    )


def _retrieval(name: str) -> Read:
    def read(source: Any, event: Any) -> Described:
        return Described("retrieval", name, content={A.GEN_AI_RETRIEVAL_QUERY_TEXT: str(field(event, "query") or "")})

    return read


def _named(name: str) -> Read:
    return lambda source, event: Described("task", name)


BEGINS: Mapping[str, Read] = {
    "crew_kickoff_started": _crew,
    "flow_started": _flow,
    "method_execution_started": _method,
    "task_started": _task,
    "agent_execution_started": _agent,
    "lite_agent_execution_started": _agent,
    "tool_usage_started": _tool,
    "mcp_tool_execution_started": _tool,
    "knowledge_search_query_started": _retrieval("knowledge"),
    "memory_retrieval_started": _retrieval("memory"),
    "memory_query_started": _retrieval("memory"),
    "memory_save_started": _named("memory save"),
    "llm_guardrail_started": _named("guardrail"),
    "agent_reasoning_started": _named("plan"),
}
"""What reads an event that begins a step, by its type. All others are plumbing."""

WITHIN: Mapping[str, str] = {
    "memory_query_started": "memory_retrieval_started",
    "mcp_tool_execution_started": "tool_usage_started",
}
"""Events that are plumbing within another one: what is inside of both is shown once."""


def read_begin(source: Any, event: Any, around: str | None) -> Described | None:
    """Return the step that an event begins; `None` if it begins none.

    Args:
        source: What emits it.
        event: The event.
        around: The type of the event that it is within, if there is one.
    """
    kind = str(field(event, "type"))
    read = BEGINS.get(kind)
    if read is None or (around is not None and WITHIN.get(kind) == around):
        return None
    if kind.startswith(("flow_", "method_")) and type(source).__module__.startswith("crewai."):
        return None  # agents and memories of CrewAI are themselves flows
    return read(source, event)


def read_error(event: Any) -> BaseException | None:
    """Return the error with which an event ends a step; CrewAI emits it while it handles that."""
    failure = field(event, "failure")
    if failure is not None:
        return ReportedError(str(field(failure, "message")))
    if not str(field(event, "type")).endswith(("_failed", "_error")):
        return None
    error = field(event, "error")
    return error if isinstance(error, BaseException) else sys.exception() or ReportedError(str(error))


def read_end(event: Any) -> Content:
    """Return what an event says that its step has given."""
    kind = str(field(event, "type"))
    if kind == "tool_usage_finished" or kind == "mcp_tool_execution_completed":
        result = field(event, "output") if kind == "tool_usage_finished" else field(event, "result")
        return {A.GEN_AI_TOOL_CALL_RESULT: str(result)}
    if kind == "knowledge_search_query_completed":
        return {
            A.GEN_AI_RETRIEVAL_QUERY_TEXT: field(event, "query"),
            A.GEN_AI_RETRIEVAL_DOCUMENTS: [{"content": field(event, "retrieved_knowledge")}],
        }
    if kind == "memory_query_completed":
        found = field(event, "results") or ()
        return {A.GEN_AI_RETRIEVAL_DOCUMENTS: [{"content": str(field(one, "content") or one)} for one in found]}
    if kind == "memory_retrieval_completed":
        return {A.GEN_AI_RETRIEVAL_DOCUMENTS: [{"content": field(event, "memory_content")}]}
    if kind.startswith(("crew_kickoff", "flow", "agent_execution", "lite_agent_execution")):
        output = field(event, "result") if kind.startswith("flow") else field(event, "output")
        return {A.GEN_AI_OUTPUT_MESSAGES: _messages(field(output, "raw") or output, "assistant")}
    return {}


def _input(value: Any) -> Content:
    return {A.GEN_AI_INPUT_MESSAGES: _messages(value, "user")} if value else {}


def _messages(value: Any, role: str) -> list[dict[str, Any]]:
    return [
        {
            "role": str(field(one, "role") or role),
            "parts": [{"type": "text", "content": str(field(one, "content") or one)}],
        }
        for one in (value if isinstance(value, list) else [value])
    ]
