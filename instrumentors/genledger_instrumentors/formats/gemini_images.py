"""Images of Imagen: `predict`, billed by the image.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Operation, at_path, integer, text
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_DEFAULT = 4
"""Images that a request without a number makes."""


def most_images(body: Body) -> Mapping[str, Any]:
    """Return an answer with as many images as a request asks for."""
    count = integer(at_path(body, "parameters.sampleCount"))
    return {"predictions": [{"bytesBase64Encoded": ""}] * (_DEFAULT if count is None else max(count, 0))}


PREDICTED_IMAGES = Operation(
    name=S.IMAGE_GENERATION,
    api="images",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    constant={A.GEN_AI_OUTPUT_TYPE: "image"},
    largest=most_images,
)
