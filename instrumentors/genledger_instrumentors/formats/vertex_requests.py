"""Requests of Vertex AI's prediction service, as messages: `google.cloud.aiplatform.v1`, and `v1beta1`.

https://cloud.google.com/vertex-ai/docs/reference/rpc/google.cloud.aiplatform.v1#predictionservice
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Operation

from .gemini_embeddings import EMBED_CONTENT
from .gemini_models import model_name, renamed
from .gemini_predictions import predicted


def read_body(message: Body) -> Body:
    """Return the fields of a request, with the model that its resource is."""
    return {**message, "model": model_name(str(message.get(_resource(message)) or ""))}


def write_changes(message: Body, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return changes with another model as the resource that it is."""
    rest = dict(changes)
    if "model" in rest:
        name = _resource(message)
        rest[name] = renamed(str(message.get(name)), rest.pop("model"))
    return rest


def prediction(body: Body) -> Operation | None:
    """Return what a `predict` is; `None` for a model of the customer's own, which may be of any kind."""
    operation = predicted(body)
    return None if "endpoints/" in str(body["model"]) and operation is not EMBED_CONTENT else operation


def _resource(message: Body) -> str:
    return "endpoint" if "endpoint" in message else "model"
