"""Which spans a GenAI backend should see, and what their parents are among those."""

from __future__ import annotations

from functools import lru_cache

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind

from genledger.destinations.selection.open_spans import SpanNode
from genledger_semconv import attributes as A

_GENAI_PREFIXES = (
    A.GENLEDGER_OPERATION_KIND,
    "gen_ai.",
    "langfuse.",
    "openinference.",
    "llm.",
    "traceloop.",
    "mcp.",
)

_ATTRIBUTION_ONLY = frozenset(
    {A.GEN_AI_PROMPT_NAME, A.GEN_AI_PROMPT_VERSION, A.GEN_AI_CONVERSATION_ID, A.USER_ID, A.SESSION_ID}
)
"""Attributes that say who a span is for, not that it is a GenAI span: any span inside may carry them."""

_GENAI_SCOPES = (
    "genledger",
    "genledger_instrumentors",
    "opentelemetry.instrumentation.genai",
    # Frameworks and instrumentors whose structural spans need not carry a GenAI attribute. The scopes that
    # Langfuse's own SDK lets through (`langfuse.span_filter`, 5.0), and the vector stores' instrumentors.
    "agent_framework",
    "ai",
    "autogen-core",
    "haystack",
    "langfuse-sdk",
    "langsmith",
    "litellm",
    "openinference",
    "pydantic-ai",
    "strands-agents",
    "vllm",
    *(
        f"opentelemetry.instrumentation.{name}"
        for name in (
            "agno", "alephalpha", "anthropic", "bedrock", "chromadb", "cohere", "crewai", "google_generativeai",
            "groq", "haystack", "lancedb", "langchain", "llamaindex", "marqo", "milvus", "mistralai", "ollama",
            "openai", "openai_agents", "openai_v2", "pinecone", "qdrant", "replicate", "sagemaker", "together",
            "transformers", "vertexai", "voyageai", "watsonx", "weaviate", "writer",
        )
    ),
)  # fmt: skip

_INFRASTRUCTURE_PREFIXES = ("http.", "url.", "db.", "rpc.", "messaging.", "faas.", "asgi.", "graphql.")
_INFRASTRUCTURE_KINDS = (SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER)


def is_genai(span: ReadableSpan) -> bool:
    """Return whether a span describes GenAI work: a call, an agent, a tool, a retrieval, an observed block."""
    # The span may still be open, and written to by another thread: take its keys in one go.
    for key in tuple(span.attributes or ()):
        if key.startswith(_GENAI_PREFIXES) and key not in _ATTRIBUTION_ONLY:
            return True
    scope = span.instrumentation_scope
    return scope is not None and _is_genai_scope(scope.name)


def is_infrastructure(span: ReadableSpan) -> bool:
    """Return whether a span describes a web request, a database statement, a message or the like."""
    return span.kind in _INFRASTRUCTURE_KINDS or any(
        key.startswith(_INFRASTRUCTURE_PREFIXES) for key in tuple(span.attributes or ())
    )


@lru_cache(maxsize=1024)
def _is_genai_scope(scope: str) -> bool:
    return any(scope == known or scope.startswith(f"{known}.") for known in _GENAI_SCOPES)


def adopt(line: SpanNode) -> SpanContext | None:
    """Return the parent that an ended span has among the spans that go out; it is marked as wanted.

    An ancestor that has not ended yet goes out if it is GenAI work or the application's own structure around
    it; web, database and queue spans are skipped. `None` when no ancestor in this process goes out.
    """
    for ancestor in line.ancestors():
        span = ancestor.span
        if ancestor.sent or (span is not None and (is_genai(span) or not is_infrastructure(span))):
            ancestor.wanted = True
            return ancestor.context
    return None
