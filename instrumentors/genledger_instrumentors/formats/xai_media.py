"""xAI's images and videos over gRPC, as what its HTTP API answers; each says what it costs.

Messages: https://github.com/xai-org/xai-proto/blob/main/proto/xai/api/v1/image.proto (and `video.proto`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genledger.engine.operation import Body

from .openai_media import COUNTED_IMAGES
from .polled_jobs import JobState, creating, fetching, job_in
from .videos import VIDEO

_STATUSES = {1: "completed", 2: "expired", 3: "pending", 4: "failed"}
"""`DeferredStatus`."""


def _usage(message: Any) -> dict[str, Any]:
    return {"cost_in_usd_ticks": message.usage.cost_in_usd_ticks} if message.usage.HasField("cost_in_usd_ticks") else {}


def read_images(result: Any) -> Mapping[str, Any]:
    """Return what `sample` or `sample_batch` gives: every image has the whole answer."""
    message = (result[0] if isinstance(result, Sequence) else result).proto
    return {"model": message.model, "data": [{"url": one.url} for one in message.images], "usage": _usage(message)}


def _video(message: Any) -> dict[str, Any]:
    usage = {**_usage(message), "video_duration": message.video.duration}
    return {"model": message.model, "video_result": [{"url": message.video.url}], "usage": usage}


def read_video(result: Any) -> Mapping[str, Any]:
    """Return a video that was waited for, or how its job is doing."""
    if hasattr(result, "request_id"):
        return {"id": result.request_id, "status": "pending"}
    if not hasattr(result, "status"):
        return _video(result.proto)
    made = _video(result.response) if result.HasField("response") else None
    code = result.response.error.code if made is not None and result.response.HasField("error") else None
    return {"status": _STATUSES.get(result.status), "result": made, "code": code}


def read_job(body: Body, answer: Any) -> JobState | None:
    """Return the job in an answer, or that which was asked about."""
    job = job_in(body, answer, answer.get("result"))
    return job._replace(error=answer.get("code")) if job is not None else None


IMAGES = {"sample": COUNTED_IMAGES, "sample_batch": COUNTED_IMAGES}
VIDEOS = {
    **dict.fromkeys(("generate", "extend"), VIDEO),
    **dict.fromkeys(("start", "extend_start"), creating(VIDEO, read_job)),
    "get": fetching("videos", read_job),
}
