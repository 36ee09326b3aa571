"""The second client of `dashscope`, since 2.0: `dashscope.v2`, which speaks three protocols over HTTP.

It sends to Model Studio in Alibaba's own format, OpenAI's or Anthropic's:
https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope. Its sockets (`audio.tts`,
`audio.realtime` and `audio.asr.recognize`), and meetings (`tingwu`), are not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.driver import Arguments
from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.request_method import Request, RequestClient
from genledger.instrumentation.adapters.request_objects import LastAnswer
from genledger.instrumentation.adapters.retries import pausing
from genledger.instrumentation.adapters.wire import Paths, WireClient
from genledger.instrumentation.patching import Patches
from genledger.pricing.providers import providers

from ..formats.anthropic_messages import MESSAGES
from ..formats.dashscope_answers import APP, CHAT, EMBEDDINGS, FETCHED_JOB, JOBS, RERANK, SPEECH, whole
from ..formats.dashscope_requests import fields_of, with_fields
from ..formats.decisions import DECISIONS
from ..formats.openai_chat import CHAT as OPENAI_CHAT

_MODULE = "dashscope.v2.transport.http"
_OPERATIONS: Mapping[str, Operation] = {
    "/services/aigc/text-generation/generation": CHAT,
    "/services/aigc/multimodal-generation/generation": CHAT,
    "/services/embeddings/text-embedding/text-embedding": EMBEDDINGS,
    "/services/embeddings/multimodal-embedding/multimodal-embedding": EMBEDDINGS,
    "/services/rerank/text-rerank/text-rerank": RERANK,
    "/services/audio/tts/SpeechSynthesizer": SPEECH._replace(accumulate=LastAnswer),
    "/apps/*/completion": APP,
    "/chat/completions": OPENAI_CHAT._replace(limit=("max_tokens",)),
    "/v1/messages": MESSAGES,
    "/systemone": DECISIONS,
    "job /services/aigc/text2image/image-synthesis": JOBS["image-synthesis"],
    "job /services/aigc/image-generation/generation": JOBS["image-generation"],
    "job /services/aigc/video-generation/video-synthesis": JOBS["video-synthesis"],
    "job /services/audio/asr/transcription": JOBS["transcription"],
    "job /services/embeddings/text-embedding/text-embedding": JOBS["text-embedding"],
    "GET /tasks/*": FETCHED_JOB,
}
"""The operation at each path: after the HTTP method where that is not `POST`, and after `job` where it makes one."""

_PATHS = Paths(_OPERATIONS)
_SERVER = WireClient("dashscope", _OPERATIONS, lambda transport, host: provider_at(host))


def provider_at(host: str) -> str:
    """Return who answers at a host: Alibaba, unless that is known to be another one, whose protocol it speaks."""
    seller = providers().at(host.lower())
    return seller.name if seller is not None else "alibaba"


def request(transport: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request | None:
    """Read a request: the arguments are the HTTP method and the path; all else has a name."""
    (method, path), sent, headers = args, kwargs.get("json"), kwargs.get("headers") or {}
    kind = "job " if "X-DashScope-Async" in headers else "" if method == "POST" else f"{method} "
    operation = _PATHS.operation(kind + path)
    if operation is None:
        return None
    http = transport.http_client
    key = kwargs.get("api_key") or http.headers.get("authorization", "").removeprefix("Bearer ")
    endpoint = _SERVER.endpoint(transport, kwargs.get("base_url") or str(http.base_url), key)
    body = fields_of(sent) if isinstance(sent, Mapping) else {"path": path}
    streamed = "X-DashScope-SSE" in headers or body.get("stream") is True
    return Request(operation, endpoint, body, streamed)


def write(args: tuple[Any, ...], kwargs: dict[str, Any], changes: Mapping[str, Any]) -> Arguments:
    """Write changed fields into the request's JSON."""
    return args, {**kwargs, "json": with_fields(kwargs["json"], changes)}


_CLIENT = RequestClient(
    library="dashscope",
    methods=tuple(
        (_MODULE, f"{cls}.{name}") for cls in ("SyncTransport", "AsyncTransport") for name in ("request", "open_stream")
    ),
    request=request,
    write=write,
    answer=whole,
    responds=True,
)


def second_client_patches() -> Patches:
    """Return the methods that every request passes through, and the functions that decide on another attempt."""
    return [*_CLIENT.patches(), *pausing("dashscope", _MODULE, "should_retry", ("_sleep", "_asleep"))]
