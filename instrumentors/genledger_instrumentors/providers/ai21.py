"""AI21's client, 3.3 to 4.x: direct, and as a client of Bedrock, Vertex and Azure; speaks OpenAI's chat format.

Client: https://github.com/AI21Labs/ai21-python. API: https://docs.ai21.com/reference.
"""

from __future__ import annotations

from typing import Any

from genledger.instrumentation.adapters.response_method import ResponseMethodClient
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor

from ..formats.openai_chat import CHAT as OPENAI_CHAT

CHAT = OPENAI_CHAT._replace(limit=("max_tokens",))
_CLOUDS = {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai", "Azure": "azure.ai.inference"}


def provider_of(http: Any, host: str) -> str:
    """Return the platform that serves the model and bills the customer."""
    return next((provider for cloud, provider in _CLOUDS.items() if cloud in type(http).__name__), "ai21")


CLIENT = ResponseMethodClient(
    WireClient("ai21", {"/chat/completions": CHAT, "/conversational-rag": CHAT}, provider_of),
    modules=("ai21.http_client.http_client", "ai21.http_client.async_http_client"),
    classes=("AI21HTTPClient", "AsyncAI21HTTPClient"),
    request="execute_http_request",
    attempt="_run_request",
)


class AI21Instrumentor(Instrumentor):
    """Records the calls of the `ai21` package."""

    library = "ai21"
    distribution = "ai21"
    supports = "ai21 >= 3.3, < 5"
    client = CLIENT
