"""Runs of smolagents' agents and tools: what they are called, given and return.

https://huggingface.co/docs/smolagents/reference/agents
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.stepped_functions import BEYOND, Described, SteppedCall
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

_FINAL = "final_answer"
"""The tool by which an agent ends its run."""


def describe_run(agent: Any, given: Mapping[str, Any]) -> Described:
    """Return what an agent's run is. Only agents that others manage must have a name."""
    name = getattr(agent, "name", None) or type(agent).__name__
    return Described(
        "agent",
        str(name),
        {A.GEN_AI_AGENT_DESCRIPTION: getattr(agent, "description", None)},
        lambda: {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(str(given.get("task")))]}]},
        loops=True,
    )


def finish_run(call: SteppedCall, result: Any) -> None:
    """Write what an agent answered."""
    call.write(partial(_answer, result))


def describe_attempt(agent: Any, given: Mapping[str, Any]) -> Described:
    """Return what one turn of an agent's loop is."""
    return Described("task", "step", loops=True, hidden=True)


def _answer(result: Any) -> Content:
    output = field(result, "output")
    text = text_part(str(result if output is None else output))
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": [text], "finish_reason": "stop"}]}


def describe_tool(tool: Any, given: Mapping[str, Any]) -> Described | None:
    """Return what a tool's run is; `None` for the one that ends an agent's run."""
    name = str(getattr(tool, "name", None) or type(tool).__name__)
    return None if name == _FINAL else _tool(name, getattr(tool, "description", None), _arguments(tool, given))


def describe_code(executor: Any, given: Mapping[str, Any]) -> Described:
    """Return what the run of code is that a model wrote: the tool that smolagents calls it."""
    return _tool("python_interpreter", None, {"code": given.get("code_action")})


def finish_tool(call: SteppedCall, result: Any) -> None:
    """Write what a tool returned."""
    call.write(lambda: {A.GEN_AI_TOOL_CALL_RESULT: str(result)})


def _tool(name: str, description: Any, given: Mapping[str, Any]) -> Described:
    return Described(
        "tool",
        name,
        {A.GEN_AI_TOOL_DESCRIPTION: description},
        lambda: {A.GEN_AI_TOOL_CALL_ARGUMENTS: given},
        tool_signature(name, given),
    )


def _arguments(tool: Any, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments by the names that a tool gives its inputs."""
    args = given.get(BEYOND, ())
    if len(args) == 1 and isinstance(args[0], Mapping):
        return args[0]
    named = dict(zip(getattr(tool, "inputs", None) or (), args, strict=False))
    return {**named, **{name: given[name] for name in given if name not in (BEYOND, "sanitize_inputs_outputs")}}
