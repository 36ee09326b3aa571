"""OpenAI's agents SDK, by the traces and spans that it makes of every run, whether it keeps them or not.

Nothing is added to its processors: that would make its exporter, and the application may replace them.

https://openai.github.io/openai-agents-python/tracing/
"""

from __future__ import annotations

import sys
from typing import Any

from genledger.engine.carried_refusals import refusal_in
from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.callbacks import first, then
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.openai_agents_spans import type_of
from .openai_agents_callbacks import RUNS, end, id_of, note_error, note_title, start_span, start_trace


def note_call(made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note the id and the arguments of a tool's call on its step."""
    span = sys.modules["agents.tracing.scope"].Scope.get_current_span()
    step = RUNS.step_of(id_of(span)) if span is not None and type_of(span.span_data) == "function" else None
    if step is not None:
        step.called(made.tool_call_id, tool_signature(made.tool_name, made.tool_arguments))


async def keep_refusal(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let a budget's refusal in a tool end the run, instead of telling the model about it."""
    return None if refusal_in(kwargs.get("error")) is not None else await wrapped(*args, **kwargs)


async def do_not_retry(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do not ask a policy whether to repeat a call that a budget has refused."""
    if refusal_in(kwargs.get("error")) is not None:
        return sys.modules["agents.retry"].RetryDecision(retry=False)
    return await wrapped(*args, **kwargs)


class OpenAIAgentsInstrumentor(Instrumentor):
    """Records the structure of the runs of OpenAI's agents SDK."""

    library = "openai-agents"
    distribution = "openai-agents"
    supports = "openai-agents >= 0.12, < 1"

    def patches(self) -> Patches:
        """Return the starts and ends of spans, and what would carry on after a budget's refusal."""
        found: Patches = [RUNS.hook("agents.tracing.scope", lambda module: module)]
        for module, start, kinds in (
            ("agents.tracing.spans", start_span, ("SpanImpl", "NoOpSpan")),
            ("agents.tracing.traces", start_trace, ("TraceImpl", "NoOpTrace", "ReattachedTrace")),
        ):
            for kind in kinds:
                found.append(Patch(module, f"{kind}.start", first(self.library, start)))
                found.append(Patch(module, f"{kind}.finish", first(self.library, end)))
        for kind in ("SpanImpl", "NoOpSpan"):
            found.append(Patch("agents.tracing.spans", f"{kind}.set_error", first(self.library, note_error)))
        return [
            *found,
            Patch("agents.tracing.provider", "DefaultTraceProvider.create_trace", then(self.library, note_title)),
            Patch("agents.tool_context", "ToolContext.from_agent_context", then(self.library, note_call)),
            Patch("agents.tool", "maybe_invoke_function_tool_failure_error_function", keep_refusal),
            Patch("agents.run_internal.model_retry", "_evaluate_retry", do_not_retry),
        ]
