"""Videos of Veo: `predictLongRunning` begins an operation, and the answer about it that ends it has the videos.

https://ai.google.dev/gemini-api/docs/video,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Attributes, Body, Finished, Operation, at_path, integer, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

_OPERATION = re.compile(r"(^|/)models/[^/:?]+/operations/[^/:?]+(\?.*)?$")


def is_about_a_video(http_method: str, path: str) -> bool:
    """Return whether a request asks how an operation is doing, as it is done with the Gemini API."""
    return http_method == "get" and _OPERATION.search(path) is not None


def _error(answer: Any) -> str | None:
    code = at_path(answer, "error.code")
    return str(code) if code is not None else None


def _begun(body: Body, answer: Any) -> str | None:
    return None if field(answer, "done") is True else text(field(answer, "name"))


def _ended(body: Body, answer: Any) -> Finished | None:
    name = text(field(answer, "name"))
    return Finished(name, error=_error(answer)) if name is not None and field(answer, "done") is True else None


def read_fetched(answer: Any, attributes: Attributes) -> None:
    """Read which operation was asked about: that it failed is no failure of this call."""
    write_texts(answer, (("name", A.GEN_AI_RESPONSE_ID),), attributes)


def read_operation(answer: Any, attributes: Attributes) -> None:
    """Read which operation it is, and whether it failed."""
    read_fetched(answer, attributes)
    if (error := _error(answer)) is not None:
        attributes[A.ERROR_TYPE] = error


def most_videos(body: Body) -> Mapping[str, Any]:
    """Return an answer with as many videos as a request asks for."""
    count = integer(at_path(body, "parameters.sampleCount"))
    return {"done": True, "response": {"videos": [{}] * (1 if count is None else max(count, 0))}}


GENERATE_VIDEOS = Operation(
    name=S.GENERATE_CONTENT,
    api="generate_videos",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={"parameters.seed": (A.GEN_AI_REQUEST_SEED, integer)},
    response=read_operation,
    family="inference",
    largest=most_videos,
    unfinished=_begun,
)

FETCHED_VIDEOS = Operation(
    name=S.FETCH_RESPONSE,
    api="generate_videos",
    response=read_fetched,
    priced=False,
    target=lambda attributes: None,
    finishes=_ended,
)
"""An answer about an operation; Vertex AI is asked by the method `fetchPredictOperation`."""
