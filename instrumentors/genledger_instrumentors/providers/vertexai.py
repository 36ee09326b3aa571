"""Google's client of Vertex AI, 1.95 to 2.x: generative models, embeddings and images, over gRPC or REST.

`vertexai` makes its requests with the clients that Google generates for the service. `langchain-google-vertexai` does,
too.

Client: https://github.com/googleapis/python-aiplatform. Its modules of generative models are deprecated in favor of
`google-genai`.
"""

from __future__ import annotations

from genledger.engine.driver import in_callers_context
from genledger.instrumentation.adapters.gapic import GapicClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.gemini_content import COUNT_TOKENS, GENERATE_CONTENT
from ..formats.gemini_embeddings import EMBED_CONTENT
from ..formats.vertex_requests import prediction, read_body, write_changes

_SERVICES = {"prediction_service": "PredictionService", "llm_utility_service": "LlmUtilityService"}
_CLASSES = {
    f"google.cloud.aiplatform_{version}.services.{service}.{module}": f"{name}{cls}"
    for version in ("v1", "v1beta1")
    for service, name in _SERVICES.items()
    for module, cls in (("client", "Client"), ("async_client", "AsyncClient"))
}
_MODELS = "vertexai.generative_models._generative_models"

CLIENT = GapicClient(
    library="vertexai",
    classes=_CLASSES,
    operations={
        "generate_content": lambda body: GENERATE_CONTENT,
        "stream_generate_content": lambda body: GENERATE_CONTENT,
        "count_tokens": lambda body: COUNT_TOKENS,
        "embed_content": lambda body: EMBED_CONTENT,
        "predict": prediction,
    },
    provider="gcp.vertex_ai",
    body=read_body,
    write=write_changes,
)


class VertexAIInstrumentor(Instrumentor):
    """Records the calls of the `google-cloud-aiplatform` package."""

    library = "vertexai"
    distribution = "google-cloud-aiplatform"
    supports = "google-cloud-aiplatform >= 1.95, < 3"

    def patches(self) -> Patches:
        """Return the methods of the service's clients, and the generators that call them."""
        return [
            *CLIENT.patches(),
            Patch(_MODELS, "_GenerativeModel._generate_content_streaming", in_callers_context),
            Patch(_MODELS, "ChatSession._send_message_streaming", in_callers_context),
        ]
