"""OpenAI's client, 1.x to 3.x: also as a client of Azure and of every host that speaks its API.

Client: https://github.com/openai/openai-python. API: https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Operation
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field

from ..formats import openai_realtime as realtime
from ..formats.openai_batches import BATCH, NEW_BATCH, RESULTS
from ..formats.openai_chat import CHAT, COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS, MODERATIONS
from ..formats.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS, TRANSLATIONS
from ..formats.openai_responses import RESPONSES, RETRIEVED_RESPONSE
from .openai_hosts import provider_of

_POSTED: Mapping[str, Operation] = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/responses": RESPONSES,
    "/responses/compact": RESPONSES,
    "/embeddings": EMBEDDINGS,
    "/images/generations": IMAGES,
    "/images/edits": IMAGES,
    "/images/variations": IMAGES,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": TRANSCRIPTIONS,
    "/audio/translations": TRANSLATIONS,
    "/moderations": MODERATIONS,
    "/batches": NEW_BATCH,
}
_RESPONSE = re.compile(r"^/responses/[^/?]+(\?.*)?$")
_BATCH = re.compile(r"^/batches(/[^/?]+(/cancel)?)?(\?.*)?$")
_FILE = re.compile(r"^/files/[^/?]+/content(\?.*)?$")


def operation_of(method: str, path: str) -> Operation | None:
    """The operation of an endpoint."""
    posted = _POSTED.get(path) if method == "post" else None
    if posted is not None:
        return posted
    if path.startswith("/batches") and _BATCH.match(path):
        return BATCH
    if method == "get":
        if path.startswith("/responses/") and _RESPONSE.match(path):
            return RETRIEVED_RESPONSE
        if path.startswith("/files/") and _FILE.match(path):
            return RESULTS
    return None


def ask_for_usage(operation: Operation, body: Body) -> Mapping[str, Any] | None:
    """What makes a chat or completions stream end with its usage."""
    if operation not in (CHAT, COMPLETIONS):
        return None
    options = body.get("stream_options")
    options = options if isinstance(options, Mapping) else {}
    if options.get("include_usage"):
        return None
    return {"stream_options": {**options, "include_usage": True}}


def only_usage(chunk: Any) -> bool:
    """Whether a chunk has usage and nothing else: the one that comes because usage was asked for."""
    return not chunk.choices and field(chunk, "usage") is not None


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
        """The one method that every request passes through, and the sockets."""
        client = StainlessClient(CLIENT)
        return [*client.patches(), *realtime.patches(client.endpoint)]
