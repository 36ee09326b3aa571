"""Google's client of Gemini, 1.17 to 3.x, for the Gemini API and Vertex AI.

Client: https://github.com/googleapis/python-genai. API: https://ai.google.dev/api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import throughout_in_callers_context
from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.wire import WireClient, attempts
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.gemini_content import COUNT_TOKENS, GENERATE_CONTENT
from ..formats.gemini_models import model_name, renamed
from ..formats.gemini_stream import payload

_PATH = re.compile(r"(?P<resource>[^:?]+):(?P<method>\w+)(?P<query>\?.*)?$")
_POSTED: Mapping[str, Operation] = {
    "generateContent": GENERATE_CONTENT,
    "streamGenerateContent": GENERATE_CONTENT,
    "countTokens": COUNT_TOKENS,
}
_STREAMS = (
    ("google.genai.models", "Models.generate_content_stream"),
    ("google.genai.models", "AsyncModels.generate_content_stream"),
    ("google.genai.chats", "Chat.send_message_stream"),
    ("google.genai.chats", "AsyncChat.send_message_stream"),
)


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request, by the method in its path."""
    found = _PATH.match(given["path"]) if given.get("http_method") == "post" else None
    return _POSTED.get(found["method"]) if found is not None else None


def body(client: Any, given: dict[str, Any]) -> Body:
    """Return the fields of a request, with what its path says."""
    fields = {name: value for name, value in given["request_dict"].items() if not name.startswith("_")}
    found = _PATH.match(given["path"])
    if found is not None:
        fields["model"] = model_name(found["resource"])
        fields["stream"] = found["method"].startswith("stream")
    return fields


def write(given: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write changed fields into the request, and another model into its path."""
    rest = dict(changes)
    found = _PATH.match(given["path"])
    if "model" in rest and found is not None:
        resource = renamed(found["resource"], rest.pop("model"))
        given["path"] = f"{resource}:{found['method']}{found['query'] or ''}"
    given["request_dict"] = with_changes(given["request_dict"], rest)


def provider_of(client: Any, host: str) -> str:
    """Return which of Google's two platforms a client is of."""
    return "gcp.vertex_ai" if client.vertexai else "gcp.gemini"


def endpoint(client: Any) -> Endpoint:
    """Return the server that a client talks to."""
    return CLIENT.endpoint(client, str(client._http_options.base_url or ""), client.api_key)


CLIENT = WireClient("google-genai", {}, provider_of)


class GoogleGenAIInstrumentor(Instrumentor):
    """Records the calls of the `google-genai` package."""

    library = "google-genai"
    distribution = "google-genai"
    supports = "google-genai >= 1.17, < 4"

    def patches(self) -> Patches:
        """Return the methods that every request passes through, and the streams that make requests while they last."""
        module = "google.genai._api_client"
        names = ("request", "request_streamed", "async_request", "async_request_streamed")
        requests = Methods(
            self.library,
            {module: "BaseApiClient"},
            dict.fromkeys(names, operation),
            endpoint,
            body,
            write,
            answer=payload,
        )
        return [
            *requests.patches(),
            attempts(self.library, module, "BaseApiClient._request_once"),
            attempts(self.library, module, "BaseApiClient._async_request_once"),
            *(Patch(module, path, throughout_in_callers_context) for module, path in _STREAMS),
        ]
