"""Runs of DSPy's modules, tools and retrievers: what they are called, given and return.

https://dspy.ai/api
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from genledger.engine.operation import Content
from genledger.engine.steps import Kind
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.stepped_functions import BEYOND, Described, SteppedCall
from genledger_semconv import attributes as A

_AGENTS = {"ReAct", "ReActV2", "RLM", "CodeAct", "Avatar"}
"""Modules that let a model choose what to do next."""

_LOOPS = {"BestOfN", "Refine", "Predict"}
"""Modules that go on when one of their attempts fails; a prediction may ask again in another format."""


def describe_module(module: Any, given: dict[str, Any]) -> Described:
    """Return what a module's run is. One call of a model inside another module is hidden: it has its own span."""
    kinds = {kind.__name__ for kind in type(module).__mro__ if kind.__module__.startswith("dspy.")}
    name = type(module).__name__
    outermost = not sys.modules["dspy.dsp.utils.settings"].settings.caller_modules
    kind: Kind = "agent" if kinds & _AGENTS else "workflow" if outermost else "task"
    given.pop(BEYOND, None)
    return Described(
        kind,
        name,
        content=partial(_arguments, kind, given),
        loops=bool(kinds & (_AGENTS | _LOOPS)),
        hidden=kind == "task" and name == "Predict",
    )


def describe_tool(tool: Any, given: dict[str, Any]) -> Described | None:
    """Return what a tool's run is; `None` for those of DSPy's own, by which an agent ends its run."""
    if getattr(tool.func, "__module__", "").startswith("dspy."):
        return None
    name = str(tool.name)
    signature = tool_signature(name, given)
    attributes = {A.GEN_AI_TOOL_DESCRIPTION: tool.desc}
    return Described("tool", name, attributes, partial(_arguments, "tool", given), signature)


def describe_retrieval(retriever: Any, given: dict[str, Any]) -> Described:
    """Return what a retrieval is."""
    given = named_arguments(retriever.forward, given.pop(BEYOND, ()), given)
    query = str(given.get("query") or given.get("query_or_queries") or "")
    return Described("retrieval", type(retriever).__name__, content={A.GEN_AI_RETRIEVAL_QUERY_TEXT: query})


def finish(call: SteppedCall, result: Any) -> None:
    """Write what a module, a tool or a retriever returned."""
    kind = call.described.kind
    found = list(getattr(result, "passages", result)) if kind == "retrieval" else result
    call.write(partial(_result, kind, found))


def _arguments(kind: Kind, given: Mapping[str, Any]) -> Content:
    from genledger.engine.content.step_content import arguments_of  # only where content is captured

    return arguments_of(kind, dict, (), given)


def _result(kind: Kind, result: Any) -> Content:
    from genledger.engine.content.step_content import result_of

    fields = getattr(result, "toDict", None)
    return result_of(kind, fields() if callable(fields) else result)
