"""Runs of smolagents' agents and tools: what they are called, given and return.

https://huggingface.co/docs/smolagents/reference/agents
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from genledger.engine.content.capture import text_part
from genledger.engine.operation import Content
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.step_methods import StepCall
from genledger.pricing.getters import field
from genledger_semconv import attributes as A

_FINAL = "final_answer"
"""The tool by which an agent ends its run."""


def read_run(wrapped: Any, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """Return an agent's run. Only agents that others manage must have a name."""
    given = named_arguments(wrapped, args, kwargs)
    name = getattr(agent, "name", None) or type(agent).__name__
    return StepCall(
        "agent",
        str(name),
        {A.GEN_AI_AGENT_DESCRIPTION: getattr(agent, "description", None)},
        lambda: {A.GEN_AI_INPUT_MESSAGES: [{"role": "user", "parts": [text_part(str(given.get("task")))]}]},
        _answer,
        loops=True,
    )


def _answer(result: Any) -> Content:
    output = field(result, "output")
    text = text_part(str(result if output is None else output))
    return {A.GEN_AI_OUTPUT_MESSAGES: [{"role": "assistant", "parts": [text], "finish_reason": "stop"}]}


def is_streamed(wrapped: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a run's steps are returned as they are made."""
    return bool(named_arguments(wrapped, args, kwargs).get("stream"))


def read_tool(wrapped: Any, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall | None:
    """Return a tool's run; `None` for the one that ends an agent's run."""
    name = str(getattr(tool, "name", None) or type(tool).__name__)
    return None if name == _FINAL else _tool(name, getattr(tool, "description", None), _arguments(tool, args, kwargs))


def read_code(wrapped: Any, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """Return the run of code that a model wrote, as the tool that smolagents calls it."""
    return _tool("python_interpreter", None, {"code": args[0] if args else kwargs.get("code_action")})


def _tool(name: str, description: Any, given: Mapping[str, Any]) -> StepCall:
    return StepCall(
        "tool",
        name,
        {A.GEN_AI_TOOL_DESCRIPTION: description},
        lambda: {A.GEN_AI_TOOL_CALL_ARGUMENTS: given},
        lambda result: {A.GEN_AI_TOOL_CALL_RESULT: str(result)},
        f"{name}:{zlib.crc32(repr(given).encode()):08x}",
    )


def _arguments(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """Return the arguments by the names that a tool gives its inputs."""
    if len(args) == 1 and isinstance(args[0], Mapping):
        return args[0]
    names = getattr(tool, "inputs", None) or ()
    named = dict(zip(names, args, strict=False))
    return {**named, **{name: value for name, value in kwargs.items() if name != "sanitize_inputs_outputs"}}
