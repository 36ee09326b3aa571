"""Hugging Face's inference client, 0.32 to 2.x: any model of the hub, at many providers.

Client: https://github.com/huggingface/huggingface_hub. Providers: https://huggingface.co/docs/inference-providers.
A request goes through Hugging Face's router, to the provider itself, or to an endpoint of one's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from genledger.engine.driver import Arguments
from genledger.engine.operation import Body, Operation, text, with_changes
from genledger.instrumentation.adapters.request_method import Request, RequestClient, follow_lines
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.pricing.providers import providers
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from ..formats.openai_chat import CHAT, COMPLETIONS
from ..formats.openai_embeddings import EMBEDDINGS
from ..formats.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS, no_answer
from ..formats.text_generation import TEXT_GENERATION

_IMAGES = IMAGES._replace(request=None, constant={A.GEN_AI_OUTPUT_TYPE: "image"}, accumulate=None)
_OTHER = Operation(
    name=S.GENERATE_CONTENT,
    api="inference",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    family="inference",
    largest=no_answer,
)
_OPERATIONS: Mapping[str, Operation] = {
    "conversational": CHAT,
    "text-generation": TEXT_GENERATION,
    "feature-extraction": EMBEDDINGS,
    "sentence-similarity": EMBEDDINGS,
    "text-to-image": _IMAGES,
    "image-to-image": _IMAGES,
    "text-to-speech": SPEECH,
    "automatic-speech-recognition": TRANSCRIPTIONS,
}
"""The operation of each task; the others (classification, translation, video, …) are `_OTHER`."""

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")
"""What a picture begins with: PNG, JPEG, WebP, GIF."""

_ROUTER = "router.huggingface.co"
_POLICIES = frozenset({"", "auto", "v1", "hf-inference", "fastest", "cheapest", "preferred"})
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
        name = "" if _is_address(asked.model) else client.provider or ""
    return "huggingface" if name in _POLICIES else _NAMES.get(name, name)


def _is_address(model: str | None) -> bool:
    """Return whether the application gave an address instead of a model, for which the client ignores its provider."""
    return model is not None and model.startswith(("http:", "https:"))


def request(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
    """Read a request: its parts are one object."""
    asked = args[0]
    body = body_of(asked)
    operation = _OPERATIONS.get(asked.task, _OTHER)
    if operation is TEXT_GENERATION and "prompt" in body:
        operation = COMPLETIONS
    headers = {name.lower(): value for name, value in asked.headers.items()}
    key = str(headers.get("authorization", "")).removeprefix("Bearer ")
    endpoint = endpoint_at(provider_of(client, asked, body["model"]), asked.url, key)
    return Request(operation, endpoint, body, streamed=bool(kwargs.get("stream")))


def body_of(asked: Any) -> Body:
    """Return the fields of a request by the names of OpenAI's formats, or as they are sent."""
    fields = asked.json if isinstance(asked.json, dict) else {}
    model = fields.get("model") or asked.model
    if model == "dummy" or _is_address(model):  # an endpoint of one's own has only one model
        model = None
    if asked.task == "text-to-speech":
        spoken = fields.get("input") or fields.get("inputs") or fields.get("text")
        fields = {**fields, "input": spoken.get("text") if isinstance(spoken, dict) else spoken}
    return {**fields, "model": model, **({"file": asked.data} if asked.data is not None else {})}


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


def answer(operation: Operation, result: Any) -> Any:
    """Return an answer as its operation reads it: the first of several, and no vectors or sounds."""
    if operation is _IMAGES and result.startswith(_PICTURES):
        return {"data": [{}]}
    if not result.startswith((b"{", b"[{")):
        return {}
    try:
        found = orjson.loads(result)
    except orjson.JSONDecodeError:
        return {}
    return found[0] if isinstance(found, list) else found


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
        answer=answer,
        follow=follow_lines,
    )
