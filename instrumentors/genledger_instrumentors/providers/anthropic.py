"""Anthropic's client, 0.40 to 2.x: direct, and as a client of Bedrock, Vertex and Foundry.

Client: https://github.com/anthropics/anthropic-sdk-python. API: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.own_spans import replaces_span
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient
from genledger.instrumentation.adapters.stream_managers import keeps_stream
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats import anthropic_batches
from ..formats.anthropic_messages import COUNT_TOKENS, MESSAGES

_PATHS = {"/v1/messages": MESSAGES, "/v1/messages/count_tokens": COUNT_TOKENS}
_CLOUDS = {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai", "Foundry": "azure.ai.inference"}
_HELPERS = {
    "anthropic.lib.streaming._messages": "MessageStream",
    "anthropic.lib.streaming._prompt_caching_beta_messages": "PromptCachingBetaMessageStream",
}
"""Helpers of streams, which before 0.43 read the response a second time."""


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint; the beta endpoints differ in their query only."""
    messages = _PATHS.get(path.partition("?")[0]) if method == "post" else None
    return messages or anthropic_batches.operation_of(method, path)


def provider_of(client: Any, host: str) -> str:
    """Return the platform that serves the model and bills the customer."""
    kind = type(client).__name__
    return next((provider for cloud, provider in _CLOUDS.items() if cloud in kind), "anthropic")


CLIENT = ClientSpec(
    name="anthropic",
    module="anthropic._base_client",
    operation=operation_of,
    provider=provider_of,
    clients=("anthropic._client", "Anthropic", "AsyncAnthropic"),
)


class AnthropicInstrumentor(Instrumentor):
    """Records the calls of the `anthropic` package."""

    library = "anthropic"
    distribution = "anthropic"
    supports = "anthropic >= 0.40, < 3"

    def patches(self) -> Patches:
        """Return the one method that every request passes through, what starts the client's own span, and helpers."""
        return [
            *StainlessClient(CLIENT).patches(),
            replaces_span(self.library, CLIENT.module, "start_api_call_span"),  # since 1.14
            *(patch for module, stream in _HELPERS.items() for patch in keeps_stream(module, stream)),
        ]
