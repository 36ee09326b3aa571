"""Google's client of Gemini, 1.17 to 3.x, for the Gemini API and Vertex AI.

Client: https://github.com/googleapis/python-genai. API: https://ai.google.dev/api.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import throughout_in_callers_context
from genledger.engine.operation import Endpoint, Operation
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.speakeasy import SpeakeasyClient
from genledger.instrumentation.adapters.tool_calls import runs_tool
from genledger.instrumentation.adapters.wire import WireClient, attempts
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.gemini_batches import BATCH, NEW_BATCH, RESULTS, is_about_a_batch
from ..formats.gemini_caches import CREATE_CACHE
from ..formats.gemini_content import COUNT_TOKENS, GENERATE_CONTENT
from ..formats.gemini_embeddings import EMBED_CONTENT
from ..formats.gemini_images import PREDICTED_IMAGES
from ..formats.gemini_interactions import FETCHED_INTERACTION, INTERACTIONS
from ..formats.gemini_requests import method_of, read_body, write_changes
from ..formats.gemini_stream import payload

_POSTED: Mapping[str, Operation] = {
    "generateContent": GENERATE_CONTENT,
    "streamGenerateContent": GENERATE_CONTENT,
    "countTokens": COUNT_TOKENS,
    "embedContent": EMBED_CONTENT,
    "batchEmbedContents": EMBED_CONTENT,
    "batchGenerateContent": NEW_BATCH,
    "asyncBatchEmbedContent": NEW_BATCH,
    "batchPredictionJobs": NEW_BATCH,
    "cachedContents": CREATE_CACHE,
}
_STREAMS = (
    ("google.genai.models", "Models.generate_content_stream"),
    ("google.genai.models", "AsyncModels.generate_content_stream"),
    ("google.genai.chats", "Chat.send_message_stream"),
    ("google.genai.chats", "AsyncChat.send_message_stream"),
)
_TOOLS = ("invoke_function_from_dict_args", "invoke_function_from_dict_args_async")


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request."""
    if is_about_a_batch(given.get("http_method", ""), given["path"]):
        return BATCH
    method = method_of(given)
    if method != "predict":
        return _POSTED.get(method)
    texts = any("content" in one for one in given["request_dict"].get("instances") or ())
    return EMBED_CONTENT if texts else PREDICTED_IMAGES


def provider_of(client: Any, host: str) -> str:
    """Return which of Google's two platforms a client is of."""
    return "gcp.vertex_ai" if getattr(client, "_api_client", client).vertexai else "gcp.gemini"


CLIENT = WireClient(
    library="google-genai",
    operations={
        "CreateInteraction": INTERACTIONS,
        "getInteractionById": FETCHED_INTERACTION,
        "cancelInteractionById": FETCHED_INTERACTION,
    },
    provider=provider_of,
)


def endpoint(client: Any) -> Endpoint:
    """Return the server that a client talks to."""
    return CLIENT.endpoint(client, str(client._http_options.base_url or ""), client.api_key)


class GoogleGenAIInstrumentor(Instrumentor):
    """Records the calls of the `google-genai` package."""

    library = "google-genai"
    distribution = "google-genai"
    supports = "google-genai >= 1.17, < 4"

    def patches(self) -> Patches:
        """Return the methods that requests pass through, the streams that make several, and what runs functions."""
        module = "google.genai._api_client"
        names = ("request", "request_streamed", "async_request", "async_request_streamed")
        files = ("download_file", "async_download_file")
        requests = Methods(
            self.library,
            {module: "BaseApiClient"},
            {**dict.fromkeys(names, operation), **dict.fromkeys(files, RESULTS)},
            endpoint,
            read_body,
            write_changes,
            answer=payload,
        )
        return [
            *requests.patches(),
            *SpeakeasyClient(CLIENT, "google.genai._gaos").patches(),
            attempts(self.library, module, "BaseApiClient._request_once"),
            attempts(self.library, module, "BaseApiClient._async_request_once"),
            *(Patch(module, path, throughout_in_callers_context) for module, path in _STREAMS),
            *(runs_tool("google.genai._extra_utils", name, "function_to_invoke") for name in _TOOLS),
        ]
