"""Haystack, 3.x: pipelines, components, agents and tools, beside the tracer that the application has set.

https://docs.haystack.deepset.ai/docs/tracing
"""

from __future__ import annotations

from genledger.instrumentation.adapters.refusals import (
    carrying_refusals,
    raising_handled_refusals,
    raising_refusals,
    unpacking_refusals,
)
from genledger.instrumentation.adapters.traced_blocks import TracedBlocks, current_span, noting
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.haystack_spans import PIPELINES, is_failure, read_component, read_content, read_failure, read_operation

BLOCKS = TracedBlocks(
    framework="haystack",
    read=read_operation,
    naming=read_component,
    content=read_content,
    failing=is_failure,
    cause=read_failure,
    unattached=PIPELINES,
)


class HaystackInstrumentor(Instrumentor):
    """Records the structure of Haystack's pipelines and agents."""

    library = "haystack"
    distribution = "haystack-ai"
    supports = "haystack-ai >= 3, < 4"

    def patches(self) -> Patches:
        """Return what traces, and what wraps refusals or makes answers of them."""
        tracer, fallback = "haystack.tracing.tracer", "haystack.components.generators.chat.fallback"
        return [
            Patch(tracer, "ProxyTracer.trace", BLOCKS.trace),
            Patch(tracer, "ProxyTracer.current_span", current_span),
            Patch("haystack.components.agents.tool_calling", "_create_tool_span", noting("tool_call"), optional=True),
            Patch("haystack.tools.errors", "ToolInvocationError.__init__", raising_handled_refusals),
            *(
                Patch(fallback, f"FallbackChatGenerator.{name}", wrapper, optional=True)
                for wrapper, names in (
                    (carrying_refusals, ("_run_single_sync", "_run_single_async")),
                    (unpacking_refusals, ("run", "run_async")),
                )
                for name in names
            ),
            Patch("haystack.core.errors", "PipelineRuntimeError.from_exception", raising_refusals),
        ]
