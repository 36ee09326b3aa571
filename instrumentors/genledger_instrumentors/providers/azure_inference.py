"""Azure's inference client, 1.0.0b9 and later: chats, embeddings of texts and of images, in OpenAI's chat format.

https://github.com/Azure/azure-sdk-for-python/tree/main/sdk/ai/azure-ai-inference. The spans that it makes with tracing
switched on lie around ours or inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.operation import Body, Endpoint
from genledger.instrumentation.adapters.azure_core import repeats_requests, write_request
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import path
from genledger.pricing.providers import providers

from ..formats.openai_chat import CHAT
from ..formats.openai_chat_stream import Chunks
from ..formats.openai_embeddings import EMBEDDINGS

_DEFAULTS = ("model", "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop")
_CLIENTS = {
    "ChatCompletionsClient": ("complete", CHAT),
    "EmbeddingsClient": ("embed", EMBEDDINGS),
    "ImageEmbeddingsClient": ("embed", EMBEDDINGS),
}


class Updates(Chunks):
    """Puts the updates of a chat together: objects over the JSON that came."""

    def fold(self, chunks: Sequence[Any]) -> None:
        """Take in more updates."""
        super().fold([chunk.as_dict() for chunk in chunks])


def body(client: Any, given: dict[str, Any]) -> Body:
    """Return the request: what is given at once, or by name, with the client's own defaults."""
    whole = given.get("body")
    if whole is not None:
        return whole if isinstance(whole, Mapping) else {}
    defaults = {name: getattr(client, f"_{name}", None) for name in _DEFAULTS}
    extras = given.get("model_extras") or getattr(client, "_model_extras", None) or {}
    named = {name: value for name, value in given.items() if name != "model_extras"}
    return {name: value for name, value in {**defaults, **extras, **named}.items() if value is not None}


def endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client was made for."""
    url = str(client._config.endpoint)
    found = endpoint_at("azure.ai.inference", url, path(client._config, "credential", "key"))
    seller = providers().at((found.host or "").lower())
    ours = seller is None or (seller.name == "azure.ai.openai" and "/openai/" not in url)
    return found if seller is None or ours else found._replace(provider=seller.name)


class AzureInferenceInstrumentor(Instrumentor):
    """Records the calls of the `azure-ai-inference` package."""

    library = "azure-ai-inference"
    distribution = "azure-ai-inference"
    supports = "azure-ai-inference >= 1.0.0b9, < 2"

    def patches(self) -> Patches:
        """Return the methods of the clients, and what counts how often a request is sent."""
        patches: Patches = [repeats_requests(self.library)]
        for cls, (name, operation) in _CLIENTS.items():
            if operation is CHAT:
                operation = CHAT._replace(accumulate=Updates)
            modules = dict.fromkeys(("azure.ai.inference._patch", "azure.ai.inference.aio._patch"), cls)
            patches += Methods(self.library, modules, {name: operation}, endpoint, body, write_request).patches()
        return patches
