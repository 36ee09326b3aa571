"""Azure's projects, 2.x, whose client of OpenAI is OpenAI's own: that one's calls are recorded.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ai/azure-ai-projects. The spans of its own tracing describe
the same responses. Those of streams are not around ours: they keep no usage, which our calls have. Nor are responses
counted in its metrics.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.recorder import active
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from .openai import OpenAIInstrumentor

_MODULE = "azure.ai.projects.telemetry._responses_instrumentor"


def counted() -> bool:
    """Return whether OpenAI's calls are recorded."""
    return active() is not None and OpenAIInstrumentor().is_instrumented_by_opentelemetry


def without_usage(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the client's own tracing write no counts where OpenAI's calls are recorded."""
    name = kwargs.get("key", args[1] if len(args) > 1 else "")
    return None if str(name).startswith("gen_ai.usage.") and counted() else wrapped(*args, **kwargs)


def without_points(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let the client's own metrics have no points of responses where OpenAI's calls are recorded."""
    kind = kwargs.get("operation_type", args[0] if args else "")
    return None if kind == "responses" and counted() else wrapped(*args, **kwargs)


class AzureProjectsInstrumentor(Instrumentor):
    """Keeps the tracing of the `azure-ai-projects` package from counting what OpenAI's calls count."""

    library = "azure-ai-projects"
    distribution = "azure-ai-projects"
    supports = "azure-ai-projects >= 2, < 3"

    def patches(self) -> Patches:
        """Return what writes the attributes of its spans, and the points of its metrics."""
        traced = "_ResponsesInstrumentorPreview"
        return [
            Patch(_MODULE, f"{traced}._set_span_attribute_safe", without_usage, optional=True),
            Patch(_MODULE, f"{traced}._record_metrics", without_points, optional=True),
        ]
