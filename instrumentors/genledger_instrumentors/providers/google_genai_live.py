"""The Live API in Google's client of Gemini: asynchronous sessions over a socket."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Endpoint
from genledger.instrumentation.adapters.sockets import ConversationSockets
from genledger.instrumentation.adapters.wire import endpoint_at

from ..formats.gemini_live import TURNS, read_config


def endpoint(live: Any) -> Endpoint:
    """Return the server that sessions are opened to, and which of Google's two platforms it is of."""
    client = live._api_client
    provider = "gcp.vertex_ai" if client.vertexai else "gcp.gemini"
    return endpoint_at(provider, str(client._http_options.base_url or ""), client.api_key)


LIVE = ConversationSockets(
    TURNS,
    classes={"google.genai.live": "AsyncLive"},
    opens="connect",
    endpoint=endpoint,
    body=lambda given: {**read_config(given.get("config")), "model": given["model"]},
    socket="_ws",
)
