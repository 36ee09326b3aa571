"""Videos of Veo: `predictLongRunning` begins an operation, and the answer about it that ends it has the videos.

https://ai.google.dev/gemini-api/docs/video,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Attributes, Body, Operation, at_path, integer, text, write_texts
from genledger.pricing.getters import field
from genledger_semconv import attributes as A
from genledger_semconv import spans as S

from .polled_jobs import JobState, creating, fetching

_OPERATION = re.compile(r"(^|/)models/[^/:?]+/operations/[^/:?]+(\?.*)?$")


def is_about_a_video(http_method: str, path: str) -> bool:
    """Return whether a request asks how an operation is doing, as it is done with the Gemini API."""
    return http_method == "get" and _OPERATION.search(path) is not None


def read_job(body: Body, answer: Any) -> JobState | None:
    """Return the operation in an answer, which has its result as well."""
    name, code = text(field(answer, "name")), at_path(answer, "error.code")
    if name is None:
        return None
    status = "in_progress" if field(answer, "done") is not True else "completed" if code is None else "failed"
    return JobState(name, status, answer, None if code is None else str(code))


def read_operation(answer: Any, attributes: Attributes) -> None:
    """Read which operation it is."""
    write_texts(answer, (("name", A.GEN_AI_RESPONSE_ID),), attributes)


def most_videos(body: Body) -> Mapping[str, Any]:
    """Return an answer with as many videos as a request asks for."""
    count = integer(at_path(body, "parameters.sampleCount"))
    return {"done": True, "response": {"videos": [{}] * (1 if count is None else max(count, 0))}}


_VIDEOS = Operation(
    name=S.GENERATE_CONTENT,
    api="generate_videos",
    fields={"model": (A.GEN_AI_REQUEST_MODEL, text)},
    nested={"parameters.seed": (A.GEN_AI_REQUEST_SEED, integer)},
    response=read_operation,
    family="inference",
    largest=most_videos,
)

GENERATE_VIDEOS = creating(_VIDEOS, read_job)

FETCHED_VIDEOS = fetching("generate_videos", read_job)
"""An answer about an operation; Vertex AI is asked by the method `fetchPredictOperation`."""
