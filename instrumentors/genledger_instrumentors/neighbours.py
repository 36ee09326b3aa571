"""Other vendors' instrumentations of what Genledger instruments, too: one row for each of their scopes.

https://github.com/Arize-ai/openinference, https://github.com/traceloop/openllmetry, https://github.com/openlit/openlit,
https://github.com/open-telemetry/opentelemetry-python-contrib, https://github.com/pydantic/logfire
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from genledger.engine.foreign_spans.native_scopes import NativeScope, Neighbour, Role

_VENDORS = (
    "openinference.instrumentation",
    "opentelemetry.instrumentation",
    "opentelemetry.instrumentation.genai",
    "openlit.instrumentation",
    "logfire",
)
"""What the names of their scopes begin with. The first level below is the library, in names of their own."""

_MEASURING = ("opentelemetry.instrumentation", "opentelemetry.instrumentation.genai")
"""Those with a meter for each library, of its scope's name."""

_CLIENTS = {
    "ai21": "ai21",
    "anthropic": "anthropic",
    "assemblyai": "assemblyai",
    "azure_ai_inference": "azure-ai-inference",
    "bedrock": "bedrock",
    "chroma": "chromadb",
    "chromadb": "chromadb",
    "cohere": "cohere",
    "elevenlabs": "elevenlabs",
    "google_ai_studio": "google-genai",
    "google_genai": "google-genai",
    "google_generativeai": "google-genai",
    "groq": "groq",
    "litellm": "litellm",
    "mistral": "mistralai",
    "mistralai": "mistralai",
    "oci_genai": "oci",
    "ollama": "ollama",
    "openai": "openai",
    "openai_v2": "openai",
    "portkey": "portkey-ai",
    "qdrant": "qdrant-client",
    "replicate": "replicate",
    "sagemaker": "sagemaker",
    "together": "together",
    "transformers": "transformers",
    "vertexai": "vertexai",
    "vllm": "vllm",
    "voyageai": "voyageai",
    "watsonx": "ibm-watsonx-ai",
    "writer": "writer-sdk",
}

_FRAMEWORKS = {
    "ag2": "ag2",
    "agno": "agno",
    "autogen_agentchat": "autogen",
    "claude_agent_sdk": "claude-agent-sdk",
    "crewai": "crewai",
    "dspy": "dspy",
    "haystack": "haystack",
    "instructor": "instructor",
    "openai_agents": "openai-agents",
    "pydantic_ai": "pydantic-ai",
    "smolagents": "smolagents",
}

_CALLBACKS = {
    "langchain": "langchain",
    "langgraph": "langchain",
    "llama_index": "llama-index",
    "llamaindex": "llama-index",
}
"""Frameworks that are recorded by their callbacks."""

_COPIES: Mapping[str, Mapping[str, Role]] = {"logfire": {"streaming response from *": "hidden"}}
"""Spans of vendors that are made when a stream has ended, beside the one around the request."""


_NATIVE = {"opentelemetry.instrumentation.ag2"}
"""Names in a vendor's way that libraries give their own spans: the table of native spans has them."""


def _rows() -> Iterator[NativeScope]:
    for vendor in _VENDORS:
        for name, library in _CLIENTS.items():
            yield from _row(vendor, name, Neighbour(library, "calls"))
        for name, library in _FRAMEWORKS.items():
            yield from _row(vendor, name, Neighbour(library, "steps"))
        for name, library in _CALLBACKS.items():
            yield from _row(vendor, name, Neighbour(library, "copies"))
    yield NativeScope("litellm", beside=Neighbour("litellm", "copies"))  # its own callbacks, in another thread
    yield NativeScope("openlit.otel.metrics", meters=("openlit.otel.metrics",))
    yield NativeScope("openlit.instrumentation.google_adk", {"*": "hidden"})  # around ADK's own
    yield NativeScope(
        "openinference.instrumentation.google_adk",  # in place of some of ADK's own
        {
            "invoke_workflow *": "workflow",
            "execute_tool *": "tool",
            **dict.fromkeys(("invocation *", "agent_run *", "call_llm"), "hidden"),
        },
    )


def _row(vendor: str, name: str, beside: Neighbour) -> Iterator[NativeScope]:
    scope = f"{vendor}.{name}"
    if scope in _NATIVE:
        return
    levels = (scope, f"{scope}.v1") if scope == "opentelemetry.instrumentation.openai" else (scope,)
    copies = _COPIES.get(vendor, {})
    yield NativeScope(scope, copies, meters=levels if vendor in _MEASURING else (), beside=beside)
    yield NativeScope(f"{scope}.*", beside=beside)


SCOPES = tuple(_rows())
"""The rows."""
