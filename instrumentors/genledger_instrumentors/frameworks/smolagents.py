"""smolagents, 1.17 to 1.x: runs of agents, of those that they manage, of tools, and of code that a model wrote.

https://github.com/huggingface/smolagents. Its models call other clients, which record and price the calls.
"""

from __future__ import annotations

from typing import Any

from genledger.instrumentation.adapters.refusals import heard, not_repeated
from genledger.instrumentation.adapters.step_methods import ends_loop_when_refused, is_step, is_streamed_step
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.smolagents_runs import is_streamed, read_code, read_run, read_tool

_WHOLE = is_step(read_run)
_STREAMED = is_streamed_step(read_run)


def run(wrapped: Any, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an agent, or return the generator that does."""
    wrapper = _STREAMED if is_streamed(wrapped, args, kwargs) else _WHOLE
    return wrapper(wrapped, agent, args, kwargs)


class SmolagentsInstrumentor(Instrumentor):
    """Records the structure of smolagents' runs."""

    library = "smolagents"
    distribution = "smolagents"
    supports = "smolagents >= 1.17, < 2"

    def patches(self) -> Patches:
        """Return what runs agents, tools and code, and what makes a model's next attempt."""
        tool, code = is_step(read_tool), is_step(read_code)
        return [
            Patch("smolagents.agents", "MultiStepAgent.run", run),
            Patch("smolagents.agents", "MultiStepAgent.provide_final_answer", heard("model", "generate")),
            Patch("smolagents.agents", "ToolCallingAgent._step_stream", ends_loop_when_refused),
            Patch("smolagents.agents", "CodeAgent._step_stream", ends_loop_when_refused),
            Patch("smolagents.tools", "Tool.__call__", tool),
            Patch("smolagents.tools", "PipelineTool.__call__", tool),
            Patch("smolagents.local_python_executor", "LocalPythonExecutor.__call__", code),
            Patch("smolagents.remote_executors", "RemotePythonExecutor.__call__", code),
            Patch("smolagents.utils", "Retrying.__call__", not_repeated, optional=True),
        ]
