"""Hugging Face's inference client, 0.32 to 2.x: any model of the hub, at many providers.

Client: https://github.com/huggingface/huggingface_hub. Providers: https://huggingface.co/docs/inference-providers.
A request goes through Hugging Face's router, to the provider itself, or to an endpoint of one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.driver import Arguments
from genledger.engine.operation import with_changes
from genledger.instrumentation.adapters.request_method import Request, RequestClient, follow_lines
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.providers import providers

from ..formats.huggingface_tasks import is_address, operation_of, read_answer, read_body

_ROUTER = "router.huggingface.co"
_POLICIES = frozenset({"", "auto", "hf-inference", "fastest", "cheapest", "preferred"})
"""What stands in the place of a provider's name and is none: the router, or Hugging Face itself, chooses or serves."""

_NAMES = {"fireworks-ai": "fireworks", "zai-org": "zai"}
"""Providers that Hugging Face calls by another name than the conventions and Genledger's table."""


def provider_of(client: Any, asked: Any, model: str | None) -> str:
    """Return who serves the model, as far as the client can tell; Hugging Face where only its router is visible."""
    parts = urlsplit(asked.url)
    if parts.hostname == _ROUTER:
        name = parts.path.split("/")[1]
        if name == "v1":
            name = (model or "").partition(":")[2]
    else:
        seller = providers().at(parts.hostname or "")
        if seller is not None:
            return seller.name
        name = "" if is_address(asked.model) else client.provider or ""
    return "huggingface" if name in _POLICIES else _NAMES.get(name, name)


def request(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
    """Read a request: its parts are one object."""
    asked = args[0]
    body = read_body(asked)
    headers = {name.lower(): value for name, value in asked.headers.items()}
    key = str(headers.get("authorization", "")).removeprefix("Bearer ")
    endpoint = endpoint_at(provider_of(client, asked, body["model"]), asked.url, key)
    return Request(operation_of(asked.task, body), endpoint, body, streamed=bool(kwargs.get("stream")))


def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
    """Write changed fields into a copy of the request: the model may be in its JSON, its address, or both."""
    asked, *rest = args
    model = changes.get("model")
    changed: dict[str, Any] = {}
    if isinstance(asked.json, dict):
        fields = {name: value for name, value in changes.items() if name != "model" or name in asked.json}
        changed["json"] = with_changes(asked.json, fields)
    if model is not None:
        changed["url"] = asked.url.replace(f"/models/{asked.model}", f"/models/{model}")
    return (dataclasses.replace(asked, **changed), *rest), kwargs


class HuggingFaceInstrumentor(Instrumentor):
    """Records the inference calls of the `huggingface_hub` package."""

    library = "huggingface-hub"
    distribution = "huggingface-hub"
    supports = "huggingface-hub >= 0.32, < 3"
    client = RequestClient(
        library="huggingface-hub",
        methods=(
            ("huggingface_hub.inference._client", "InferenceClient._inner_post"),
            ("huggingface_hub.inference._generated._async_client", "AsyncInferenceClient._inner_post"),
        ),
        request=request,
        write=write,
        answer=read_answer,
        follow=follow_lines,
    )
