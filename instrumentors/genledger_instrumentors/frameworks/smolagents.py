"""smolagents, 1.17 to 1.x: runs of agents, of those that they manage, of tools, and of code that a model wrote.

https://github.com/huggingface/smolagents. Its models call other clients, which record and price the calls.
"""

from __future__ import annotations

from genledger.instrumentation.adapters.refusals import heard, not_repeated
from genledger.instrumentation.adapters.stepped_functions import stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats import smolagents_runs as runs


class SmolagentsInstrumentor(Instrumentor):
    """Records the structure of smolagents' runs."""

    library = "smolagents"
    distribution = "smolagents"
    supports = "smolagents >= 1.17, < 2"

    def patches(self) -> Patches:
        """Return what runs agents, tools and code, and what makes a model's next attempt."""
        run = stepping(runs.describe_run, runs.finish_run, last=True)
        attempt = stepping(runs.describe_attempt)
        tool, code = (stepping(one, runs.finish_tool) for one in (runs.describe_tool, runs.describe_code))
        return [
            Patch("smolagents.agents", "MultiStepAgent._run_stream", run),
            Patch("smolagents.agents", "MultiStepAgent.provide_final_answer", heard("model", "generate")),
            Patch("smolagents.agents", "ToolCallingAgent._step_stream", attempt),
            Patch("smolagents.agents", "CodeAgent._step_stream", attempt),
            Patch("smolagents.tools", "Tool.__call__", tool),
            Patch("smolagents.tools", "PipelineTool.__call__", tool),
            Patch("smolagents.local_python_executor", "LocalPythonExecutor.__call__", code),
            Patch("smolagents.remote_executors", "RemotePythonExecutor.__call__", code),
            Patch("smolagents.utils", "Retrying.__call__", not_repeated, optional=True),
        ]
