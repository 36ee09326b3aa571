"""Ollama's client, 0.4.9 to 0.x: models on one's own machines, and those in Ollama's cloud.

Client: https://github.com/ollama/ollama-python. A local server passes requests for models of the cloud on:
https://docs.ollama.com/cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import Arguments
from genledger.engine.operation import Operation, with_changes
from genledger.instrumentation.adapters.request_method import Request, RequestClient
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor

from ..formats.ollama_chat import CHAT, EMBED, GENERATE, SYSTEM_ONE

_OPERATIONS: Mapping[str, Operation] = {
    "/api/chat": CHAT,
    "/api/generate": GENERATE,
    "/api/embed": EMBED,
    "/api/embeddings": EMBED,
    "/v1/systemone": SYSTEM_ONE,
}


def request(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request | None:
    """Read a request: the arguments are the answer's class, the method and the path."""
    operation = _OPERATIONS.get(args[2])
    if operation is None:
        return None
    http, body = client._client, kwargs["json"]
    # The platform that runs the model and bills the customer: the same server has models of both.
    cloud = http.base_url.host == "ollama.com" or str(body["model"]).endswith(("-cloud", ":cloud"))
    key = http.headers.get("authorization", "").removeprefix("Bearer ")
    endpoint = endpoint_at("ollama_cloud" if cloud else "ollama", str(http.base_url), key)
    return Request(operation, endpoint, body, streamed=bool(kwargs.get("stream")))


def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
    """Write changed fields into the request's JSON."""
    return args, {**kwargs, "json": with_changes(kwargs["json"], changes)}


class OllamaInstrumentor(Instrumentor):
    """Records the calls of the `ollama` package."""

    library = "ollama"
    distribution = "ollama"
    supports = "ollama >= 0.4.9, < 1"
    client = RequestClient(
        library="ollama",
        methods=(("ollama._client", "Client._request"), ("ollama._client", "AsyncClient._request")),
        request=request,
        write=write,
        lazy=True,
    )
