"""IBM's client of watsonx.ai, 1.3.23 to 1.x: models, deployments of models, embeddings, reranks, and its model gateway.

https://ibm.github.io/watsonx-ai-python-sdk. Lists of prompts are a request each, in threads. The loops that repeat a
request are methods until 1.5, and functions that each object makes for itself from 1.6 on. What the transport of 1.5
sends again is not counted.
"""

from __future__ import annotations

from genledger.engine.driver import in_callers_context
from genledger.instrumentation.adapters.httpx_clients import HttpxClient, Loop
from genledger.instrumentation.adapters.retries import answers, decides
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.openai_chat import CHAT as OPENAI_CHAT
from ..formats.openai_chat import COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS as OPENAI_EMBEDDINGS
from ..formats.watsonx_text import CHAT, EMBEDDINGS, GENERATION, RERANK

_MODELS = "ibm_watsonx_ai.foundation_models"
_HTTP = "ibm_watsonx_ai._wrappers"
_GENERATED = {"chat": CHAT, "chat_stream": CHAT, "generation": GENERATION, "generation_stream": GENERATION}
_OPERATIONS = {
    **{f"/ml/v1/text/{name}": operation for name, operation in _GENERATED.items()},
    # A deployment has one model, which the request does not name.
    **{
        f"/ml/v1/deployments/*/text/{name}": operation._replace(fixed_model=True)
        for name, operation in _GENERATED.items()
    },
    "/ml/v1/text/embeddings": EMBEDDINGS,
    "/ml/v1/text/rerank": RERANK,
    "/ml/gateway/v1/chat/completions": OPENAI_CHAT,
    "/ml/gateway/v1/completions": COMPLETIONS,
    "/ml/gateway/v1/embeddings": OPENAI_EMBEDDINGS,
}
_BASE = (f"{_MODELS}.inference.base_model_inference", "BaseModelInference")
_KINDS = (
    (f"{_MODELS}.inference.fm_model_inference", "FMModelInference"),
    (f"{_MODELS}.inference.deployment_model_inference", "DeploymentModelInference"),
)
_EMBED = (f"{_MODELS}.embeddings.embeddings", "Embeddings")
_LOOPS = (
    *(Loop(*cls, "_post") for cls in (_BASE, _EMBED)),
    *(Loop(*cls, "_apost", asynchronous=True) for cls in (_BASE, _EMBED)),
    Loop(*_BASE, "_stream", streams=True),
    Loop(*_BASE, "_astream", streams=True, asynchronous=True),
    *(Loop(*cls, "_post_with_retry", held=True) for cls in (_BASE, _EMBED)),
    *(Loop(*cls, "_async_post_with_retry", asynchronous=True, held=True) for cls in (_BASE, _EMBED)),
    Loop(*_BASE, "_stream_with_retry", streams=True, held=True),
    Loop(*_BASE, "_async_stream_with_retry", streams=True, asynchronous=True, held=True),
)
_CLASSES = (
    *(
        (f"{_HTTP}.{module}", cls)
        for module in ("requests", "httpx_wrapper")
        for cls in ("HTTPXClient", "HTTPXAsyncClient")
    ),
    (f"{_HTTP}.httpx.client.httpx_client", "HTTPXClient"),
    (f"{_HTTP}.httpx.client.httpx_async_client", "HTTPXAsyncClient"),
)
_GENERATORS = (
    "_generate_with_url_async",
    *(
        f"{prefix}generate_{kind}stream_with_url"
        for prefix in ("_", "_a")
        for kind in ("", "chat_", "deployment_chat_")
    ),
)
_TRANSPORT = f"{_HTTP}.httpx.retry_transport.retry_transport_mixin"


class WatsonxInstrumentor(Instrumentor):
    """Records the calls of the `ibm-watsonx-ai` package."""

    library = "ibm-watsonx-ai"
    distribution = "ibm-watsonx-ai"
    supports = "ibm-watsonx-ai >= 1.3.23, < 2"

    def patches(self) -> Patches:
        """Return what sends requests, what repeats them, and the generators that are read later."""
        client = WireClient(self.library, _OPERATIONS, lambda http, host: "ibm.watsonx.ai", model="model_id")
        return [
            *HttpxClient(client, _CLASSES, _LOOPS).patches(),
            # Older versions, with `persistent_connection=False`.
            *(answers(self.library, f"{_HTTP}.requests", name, optional=True) for name in ("post", "Session.request")),
            *(
                decides(self.library, _TRANSPORT, f"RetryTransportMixin.{name}", optional=True)
                for name in ("_get_sleep_time", "_is_retry_on_server_disconnect")
            ),
            *(
                Patch(module, f"{cls}.{name}", in_callers_context, optional=True, overriding=True)
                for module, cls in (_BASE, *_KINDS)
                for name in _GENERATORS
            ),
            *(
                Patch("ibm_watsonx_ai.gateway.gateway", name, in_callers_context, optional=True)
                for name in ("_streaming_create", "_streaming_acreate")
            ),
        ]
