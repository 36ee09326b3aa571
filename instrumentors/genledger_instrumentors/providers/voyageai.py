"""Voyage's client, 0.3.2 to 0.x: embeddings and reranks. https://github.com/voyage-ai/voyageai-python"""

from __future__ import annotations

import sys
from typing import Any

from genledger.engine.operation import Body, Endpoint, integer
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.retries import attempts
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger_semconv import attributes as A

from ..formats.cohere_documents import RERANK
from ..formats.openai_embeddings import EMBEDDINGS

_EMBED = EMBEDDINGS._replace(
    fields={**EMBEDDINGS.fields, "output_dimension": (A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, integer)}
)
_RERANK = RERANK._replace(
    fields={**RERANK.fields, "top_k": (A.GEN_AI_RETRIEVAL_TOP_K, integer)},
    largest=None,  # billed by tokens
)
_COUNTS = ("total_tokens", "text_tokens", "image_pixels", "video_pixels")


def body(client: Any, given: dict[str, Any]) -> Body | None:
    """Return the request; none for a model that runs in this process."""
    model = given.get("model")
    if model is None:
        model = sys.modules["voyageai"].VOYAGE_EMBED_DEFAULT_MODEL
    local = sys.modules.get("voyageai.local.helpers")  # newer versions have it
    return None if local is not None and local.is_local_model(model) else {**given, "model": model}


def endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client talks to."""
    url = client._params.get("base_url") or getattr(sys.modules["voyageai"], "api_base", "https://api.voyageai.com/v1")
    return endpoint_at("voyageai", url, client.api_key)


def answer(result: Any) -> Any:
    """Return what the client kept of an answer: its usage."""
    return {"usage": {name: getattr(result, name) for name in _COUNTS if hasattr(result, name)}}


class VoyageInstrumentor(Instrumentor):
    """Records the calls of the `voyageai` package."""

    library = "voyageai"
    distribution = "voyageai"
    supports = "voyageai >= 0.3.2, < 1"

    def patches(self) -> Patches:
        """Return the methods of the clients, and the one that each attempt at a request passes through."""
        methods = Methods(
            self.library,
            {"voyageai.client": "Client", "voyageai.client_async": "AsyncClient"},
            {"embed": _EMBED, "contextualized_embed": _EMBED, "multimodal_embed": _EMBED, "rerank": _RERANK},
            endpoint,
            body,
            answer=answer,
        )
        requestor = "voyageai.api_resources.api_requestor"
        return [
            *methods.patches(),
            *(attempts(self.library, requestor, f"APIRequestor.{name}") for name in ("request", "arequest")),
        ]
