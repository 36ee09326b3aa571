"""Azure's projects, 2.x, whose client of OpenAI is OpenAI's own: that one's calls are recorded.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ai/azure-ai-projects. The spans of its own tracing describe
the same responses. Those of streams are not around ours: they keep no usage, which our calls have.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.recorder import active
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from .openai import OpenAIInstrumentor


def without_usage(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the client's own tracing write no counts where OpenAI's calls are recorded."""
    name = kwargs.get("key", args[1] if len(args) > 1 else "")
    recorded = active() is not None and OpenAIInstrumentor().is_instrumented_by_opentelemetry
    return None if recorded and str(name).startswith("gen_ai.usage.") else wrapped(*args, **kwargs)


class AzureProjectsInstrumentor(Instrumentor):
    """Keeps the tracing of the `azure-ai-projects` package from counting what OpenAI's calls count."""

    library = "azure-ai-projects"
    distribution = "azure-ai-projects"
    supports = "azure-ai-projects >= 2, < 3"

    def patches(self) -> Patches:
        """Return what writes the attributes of its spans."""
        module, path = "azure.ai.projects.telemetry._responses_instrumentor", "_set_span_attribute_safe"
        return [Patch(module, f"_ResponsesInstrumentorPreview.{path}", without_usage, optional=True)]
