"""Runs of DSPy's modules, tools and retrievers: what they are called, given and return.

https://dspy.ai/api
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Content
from genledger.engine.steps import Kind
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.step_methods import StepCall
from genledger_semconv import attributes as A

_AGENTS = {"ReAct", "ReActV2", "RLM", "CodeAct", "Avatar"}
"""Modules that let a model choose what to do next."""

_LOOPS = {"BestOfN", "Refine", "Predict"}
"""Modules that go on when one of their attempts fails; a prediction may ask again in another format."""


def read_module(wrapped: Any, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """Return a module's run. One call of a model inside another module is hidden: it has its own span."""
    kinds = {kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("dspy.")}
    name = type(module).__name__
    outermost = not sys.modules["dspy.dsp.utils.settings"].settings.caller_modules
    kind: Kind = "agent" if kinds & _AGENTS else "workflow" if outermost else "task"
    step = _step(kind, name, kwargs)
    return step._replace(loops=bool(kinds & (_AGENTS | _LOOPS)), hidden=kind == "task" and name == "Predict")


def read_tool(wrapped: Any, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall | None:
    """Return a tool's run; `None` for those of DSPy's own, by which an agent ends its run."""
    if getattr(tool.func, "__module__", "").startswith("dspy."):
        return None
    name = str(tool.name)
    signature = f"{name}:{zlib.crc32(repr(kwargs).encode()):08x}"
    return _step("tool", name, kwargs, {A.GEN_AI_TOOL_DESCRIPTION: tool.desc}, signature)


def read_retrieval(wrapped: Any, retriever: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """Return a retrieval."""
    given = named_arguments(retriever.forward, args, kwargs)
    query = str(given.get("query") or given.get("query_or_queries") or "")
    return StepCall(
        "retrieval", type(retriever).__name__, content=lambda: {A.GEN_AI_RETRIEVAL_QUERY_TEXT: query}, result=_passages
    )


def _step(
    kind: Kind,
    name: str,
    given: Mapping[str, Any],
    attributes: Mapping[str, Any] = {},
    signature: str | None = None,
) -> StepCall:
    return StepCall(
        kind, name, attributes, lambda: _arguments(kind, given), lambda result: _result(kind, result), signature
    )


def _arguments(kind: Kind, given: Mapping[str, Any]) -> Content:
    from genledger.engine.content.step_content import arguments_of  # only where content is captured

    return arguments_of(kind, dict, (), given)


def _result(kind: Kind, result: Any) -> Content:
    from genledger.engine.content.step_content import result_of

    fields = getattr(result, "toDict", None)
    return result_of(kind, fields() if callable(fields) else result)


def _passages(result: Any) -> Content:
    return _result("retrieval", list(getattr(result, "passages", result)))
