"""Operations of Google's API, by the methods and resources of its requests. https://ai.google.dev/api"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Operation

from .gemini_batches import BATCH, NEW_BATCH, is_about_a_batch
from .gemini_caches import CREATE_CACHE
from .gemini_content import COUNT_TOKENS, GENERATE_CONTENT
from .gemini_embeddings import EMBED_CONTENT
from .gemini_predictions import predicted
from .gemini_requests import method_of
from .gemini_videos import FETCHED_VIDEOS, GENERATE_VIDEOS, is_about_a_video

_POSTED: Mapping[str, Operation] = {
    "generateContent": GENERATE_CONTENT,
    "streamGenerateContent": GENERATE_CONTENT,
    "countTokens": COUNT_TOKENS,
    "embedContent": EMBED_CONTENT,
    "batchEmbedContents": EMBED_CONTENT,
    "batchGenerateContent": NEW_BATCH,
    "asyncBatchEmbedContent": NEW_BATCH,
    "batchPredictionJobs": NEW_BATCH,
    "cachedContents": CREATE_CACHE,
    "predictLongRunning": GENERATE_VIDEOS,
    "fetchPredictOperation": FETCHED_VIDEOS,
}


def operation(given: dict[str, Any]) -> Operation | None:
    """Return the operation of a request."""
    if is_about_a_batch(given.get("http_method", ""), given["path"]):
        return BATCH
    if is_about_a_video(given.get("http_method", ""), given["path"]):
        return FETCHED_VIDEOS
    method = method_of(given)
    if method != "predict":
        return _POSTED.get(method)
    return predicted({**given["request_dict"], "model": given["path"]})
