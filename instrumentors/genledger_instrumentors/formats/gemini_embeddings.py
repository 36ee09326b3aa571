"""Embeddings of Google's models: `batchEmbedContents` and `embedContent`, and Vertex AI's older `predict`.

https://ai.google.dev/api/embeddings,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api
"""

from __future__ import annotations

from genledger.engine.operation import Attributes, Body, Operation, at_path, integer, listed, text
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_PLACES = ("outputDimensionality", "embedContentConfig.outputDimensionality", "parameters.outputDimensionality")


def read_request(body: Body, attributes: Attributes) -> None:
    """Read how long the vectors are to be; a batch says it of each."""
    for asked in (body, *listed(body.get("requests"))[:1]):
        for place in _PLACES:
            size = integer(at_path(asked, place))
            if size is not None:
                attributes[A.GEN_AI_EMBEDDINGS_DIMENSION_COUNT] = size


EMBED_CONTENT = Operation(
    name=S.EMBEDDINGS,
    api="embedContent",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    request=read_request,
)
