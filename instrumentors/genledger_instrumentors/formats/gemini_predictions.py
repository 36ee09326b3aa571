"""Predictions of Google's models: the method that embeds texts and draws images, before each had one of its own.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/predict
"""

from __future__ import annotations

from genledger.engine.operation import Body, Operation, listed

from .gemini_embeddings import EMBED_CONTENT
from .gemini_images import PREDICTED_IMAGES


def predicted(body: Body) -> Operation:
    """Return what is asked for, from the instances of a request."""
    texts = any("content" in one for one in listed(body.get("instances")))
    return EMBED_CONTENT if texts or "embedding" in str(body.get("model")) else PREDICTED_IMAGES
