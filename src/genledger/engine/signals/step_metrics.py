"""The conventions' metrics of what the application does around its calls: agents, tools, workflows, retrievals."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter

from genledger.engine.signals.label_limit import LabelLimit
from genledger.shared.text import bounded
from genledger_semconv import attributes as A
from genledger_semconv import metrics as M


class StepMetrics:
    """The instruments of one meter, and how many different values their labels may have."""

    def __init__(self, meter: Meter, limit: LabelLimit) -> None:
        self._limit = limit

        def histogram(name: str, unit: str) -> Histogram:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=M.BUCKETS[name])

        self._durations = {
            "agent": (histogram(M.GEN_AI_INVOKE_AGENT_DURATION, "s"), A.GEN_AI_AGENT_NAME),
            "tool": (histogram(M.GEN_AI_EXECUTE_TOOL_DURATION, "s"), A.GEN_AI_TOOL_NAME),
            "workflow": (histogram(M.GEN_AI_INVOKE_WORKFLOW_DURATION, "s"), A.GEN_AI_WORKFLOW_NAME),
        }
        self._inferences = histogram(M.GEN_AI_INVOKE_AGENT_INFERENCE_CALLS, "{inference_call}")
        self._tools = histogram(M.GEN_AI_INVOKE_AGENT_TOOL_CALLS, "{tool_call}")

    def measures(self, kind: str) -> bool:
        """Return whether a kind of step has a metric."""
        return kind in self._durations

    def record(
        self,
        kind: str,
        name: str,
        seconds: float,
        error: str | None,
        inferences: int,
        tools: int,
        context: Context | None = None,
    ) -> None:
        """Count one finished step.

        Args:
            kind: What it was, of those that are measured.
            name: The agent, tool or workflow.
            seconds: How long it took.
            error: Its `error.type`, when it failed.
            inferences: Inference calls that an agent made itself.
            tools: Tools that an agent ran itself.
            context: Has the step's span, which exemplars lead to.
        """
        histogram, naming = self._durations[kind]
        labels: dict[str, Any] = {naming: self._limit.bounded(naming, bounded(name))}
        if kind == "agent":
            self._inferences.record(inferences, labels, context)
            self._tools.record(tools, labels, context)
        if error is not None:
            labels = {**labels, A.ERROR_TYPE: self._limit.bounded(A.ERROR_TYPE, bounded(error))}
        histogram.record(seconds, labels, context)
