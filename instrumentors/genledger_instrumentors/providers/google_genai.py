"""Google's client of Gemini, 1.17 to 3.x, for the Gemini API and Vertex AI.

Client: https://github.com/googleapis/python-genai. API: https://ai.google.dev/api.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import throughout_in_callers_context
from genledger.engine.operation import Body, Endpoint, Operation, at_path, with_changes
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.speakeasy import SpeakeasyClient
from genledger.instrumentation.adapters.wire import WireClient, attempts
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.pricing.getters import field

from ..formats.gemini_content import COUNT_TOKENS, GENERATE_CONTENT
from ..formats.gemini_embeddings import EMBED_CONTENT
from ..formats.gemini_images import PREDICTED_IMAGES
from ..formats.gemini_interactions import FETCHED_INTERACTION, INTERACTIONS
from ..formats.gemini_models import model_name, renamed
from ..formats.gemini_stream import payload

_PATH = re.compile(r"(?P<resource>[^:?]+):(?P<method>\w+)(?P<query>\?.*)?$")
_POSTED: Mapping[str, Operation] = {
    "generateContent": GENERATE_CONTENT,
    "streamGenerateContent": GENERATE_CONTENT,
    "countTokens": COUNT_TOKENS,
    "embedContent": EMBED_CONTENT,
    "batchEmbedContents": EMBED_CONTENT,
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
    if found is None:
        return None
    if found["method"] == "predict":
        prompts = any("prompt" in one for one in given["request_dict"].get("instances") or ())
        return PREDICTED_IMAGES if prompts else EMBED_CONTENT
    return _POSTED.get(found["method"])


def merged(fields: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with others merged over them, as the client does it."""
    both = {
        name: merged(fields[name], extra[name]) for name in fields.keys() & extra.keys() if _holds(fields, extra, name)
    }
    return {**fields, **extra, **both}


def _holds(fields: Mapping[str, Any], extra: Mapping[str, Any], name: str) -> bool:
    return isinstance(fields[name], Mapping) and isinstance(extra[name], Mapping)


def body(client: Any, given: dict[str, Any]) -> Body:
    """Return the fields of a request, with what its path says."""
    fields = {name: value for name, value in given["request_dict"].items() if not name.startswith("_")}
    fields = merged(fields, field(given.get("http_options"), "extra_body") or {})
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
        if requests := given["request_dict"].get("requests"):
            rest["requests"] = [{**one, "model": resource} for one in requests]
    given["request_dict"] = with_changes(given["request_dict"], rest)
    options: Any = given.get("http_options")
    if extra := field(options, "extra_body"):
        # What the application added is merged over the request by the client.
        changed = {
            "extra_body": with_changes(extra, {name: value for name, value in rest.items() if at_path(extra, name)})
        }
        given["http_options"] = (
            {**options, **changed} if isinstance(options, dict) else options.model_copy(update=changed)
        )


def provider_of(client: Any, host: str) -> str:
    """Return which of Google's two platforms a client is of."""
    return "gcp.vertex_ai" if getattr(client, "_api_client", client).vertexai else "gcp.gemini"


def endpoint(client: Any) -> Endpoint:
    """Return the server that a client talks to."""
    return CLIENT.endpoint(client, str(client._http_options.base_url or ""), client.api_key)


CLIENT = WireClient(
    "google-genai",
    {
        "CreateInteraction": INTERACTIONS,
        "getInteractionById": FETCHED_INTERACTION,
        "cancelInteractionById": FETCHED_INTERACTION,
    },
    provider_of,
)


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
            *SpeakeasyClient(CLIENT, "google.genai._gaos").patches(),
            attempts(self.library, module, "BaseApiClient._request_once"),
            attempts(self.library, module, "BaseApiClient._async_request_once"),
            *(Patch(module, path, throughout_in_callers_context) for module, path in _STREAMS),
        ]
