"""OpenAI's client, 1.x to 3.x: also as a client of Azure and of every host that speaks its API.

Client: https://github.com/openai/openai-python. API: https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.providers import providers
from genledger_semconv import attributes as A

from ..formats import openai_batches
from ..formats.decisions import DECISIONS
from ..formats.openai_chat import CHAT, COMPLETIONS, ask_for_usage, only_usage
from ..formats.openai_embeddings import EMBEDDINGS, MODERATIONS
from ..formats.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS, TRANSLATIONS
from ..formats.openai_responses import RESPONSES, RETRIEVED_RESPONSE
from .openai_sockets import socket_patches

_CHAT = CHAT._replace(constant={A.OPENAI_API_TYPE: "chat_completions"})
_RESPONSES = RESPONSES._replace(constant={A.OPENAI_API_TYPE: "responses"})
_RETRIEVED = RETRIEVED_RESPONSE._replace(constant=_RESPONSES.constant)
_POSTED: Mapping[str, Operation] = {
    "/chat/completions": _CHAT,
    "/completions": COMPLETIONS,
    "/responses": _RESPONSES,
    "/responses/compact": _RESPONSES,
    "/decisions": DECISIONS,
    "/embeddings": EMBEDDINGS,
    "/images/generations": IMAGES,
    "/images/edits": IMAGES,
    "/images/variations": IMAGES,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": TRANSCRIPTIONS,
    "/audio/translations": TRANSLATIONS,
    "/moderations": MODERATIONS,
}
_RESPONSE = re.compile(r"^/responses/[^/?]+(\?.*)?$")
_CANCELLED = re.compile(r"^/responses/[^/?]+/cancel$")


def operation_of(method: str, path: str) -> Operation | None:
    """Return the operation of an endpoint."""
    posted = _POSTED.get(path) if method == "post" else None
    if posted is not None:
        return posted
    if path.startswith("/responses/"):
        fetched = {"get": _RESPONSE, "post": _CANCELLED}.get(method)
        return _RETRIEVED if fetched is not None and fetched.match(path) else None
    return openai_batches.operation_of(method, path)


def provider_of(client: Any, host: str) -> str:
    """Return the provider's name in the conventions, or its own name where they have none.

    A host nobody knows (a proxy, a server of one's own) counts as OpenAI's, whose API it speaks: the
    conventions' rule for a provider that is only seen through something else.
    """
    if host.endswith("services.ai.azure.com") and str(client.base_url).rstrip("/").endswith("/models"):
        return "azure.ai.inference"
    seller = providers().at(host.lower())
    if seller is not None:
        return seller.name
    return "azure.ai.openai" if "Azure" in type(client).__name__ else "openai"


CLIENT = ClientSpec(
    name="openai",
    module="openai._base_client",
    operation=operation_of,
    provider=provider_of,
    ask_for_usage=ask_for_usage,
    hidden=only_usage,
    clients=("openai._client", "OpenAI", "AsyncOpenAI"),
)


class OpenAIInstrumentor(Instrumentor):
    """Records the calls of the `openai` package."""

    library = "openai"
    distribution = "openai"
    supports = "openai >= 1.0, < 4"

    def patches(self) -> Patches:
        """Return the one method that every request passes through, and the sockets."""
        client = StainlessClient(CLIENT)
        return [*client.patches(), *socket_patches(client.endpoint)]
