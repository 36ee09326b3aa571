"""Alibaba's client of Model Studio, 1.23 to 2.x. https://github.com/dashscope/dashscope-sdk-python

API: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope. It returns errors, and raises none. The
client `dashscope.v2`, and sessions that stay open (`tts_v2`, `qwen_omni`, `multimodal_dialog`), are not recorded.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Body, Endpoint, Operation, with_changes
from genledger.instrumentation.adapters.methods import Methods
from genledger.instrumentation.adapters.request_objects import RequestObjects
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.dashscope_answers import (
    APP,
    CHAT,
    EMBEDDINGS,
    FETCHED_JOB,
    JOBS,
    RERANK,
    SPEECH,
    TRANSCRIPTION,
)
from ..formats.openai_media import COUNTED_IMAGES

_JOB = re.compile(r"/tasks/[^/]+$")
_SPEECH = "/audio/tts/SpeechSynthesizer"

_TASKS: Mapping[str, Operation] = {
    "text-generation": CHAT,
    "multimodal-generation": CHAT,
    "code-generation": CHAT,
    "image-generation": COUNTED_IMAGES,
    "text-embedding": EMBEDDINGS,
    "multimodal-embedding": EMBEDDINGS,
    "text-rerank": RERANK,
    "nlu": CHAT,
    "tts": SPEECH,
    "asr": TRANSCRIPTION,
    "app": APP,
    "job": FETCHED_JOB,
    **{f"job {name}": operation for name, operation in JOBS.items()},
}


def task_of(request: Any) -> str:
    """Return the task of a request, or the job that it creates or asks about."""
    data, url = getattr(request, "data", None), urlsplit(request.url).path
    if getattr(request, "method", "POST") != "POST":
        return "job" if _JOB.search(url) else ""
    if url.endswith(_SPEECH):
        return "tts"
    if getattr(data, "task_group", None) == "apps":
        return "app"
    task, function = str(getattr(data, "task", "")), str(getattr(data, "function", ""))
    if getattr(request, "async_request", False):
        return f"job {function if function in JOBS else task}"
    return task


def body_of(request: Any) -> Body:
    """Return the fields of a request in one: its input's and its parameters'."""
    data, path = request.data, urlsplit(request.url).path
    if getattr(request, "method", "POST") != "POST":
        return {"path": path}
    if not hasattr(data, "model"):  # the speech synthesizer has its own kind of data
        sent = data.get_http_payload()[2]
        return {"model": sent.get("model"), **sent.get("input", {}), **sent.get("parameters", {})}
    given = data._input if isinstance(data._input, Mapping) else {}
    return {"model": data.model, **given, **data.parameters}


def write(request: Any, changes: Mapping[str, Any]) -> None:
    """Write the model, and changed parameters."""
    rest, data = dict(changes), request.data
    if not hasattr(data, "model"):
        data.get_http_payload()[2].update(rest)  # a speech has no limit of tokens
        return
    data.model = rest.pop("model", data.model)
    data.parameters = with_changes(data.parameters, rest)


def address_of(request: Any) -> tuple[str, str]:
    """Return where a request goes, and its API key."""
    return request.url, str(request.headers.get("Authorization", "")).removeprefix("Bearer ")


_SERVER = WireClient("dashscope", _TASKS, lambda request, host: "alibaba")
_REQUESTS = RequestObjects(
    _SERVER,
    methods=(
        ("dashscope.api_entities.http_request", "HttpRequest._handle_request"),
        ("dashscope.api_entities.http_request", "HttpRequest._handle_aio_request"),
        ("dashscope.api_entities.websocket_request", "WebSocketRequest.connection_handler"),
    ),
    name=task_of,
    address=address_of,
    body=body_of,
    write=write,
)


def task_endpoint(instance: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that is asked about a task."""
    address = given.get("base_address") or getattr(sys.modules.get("dashscope"), "base_http_api_url", "")
    return _SERVER.endpoint(instance, str(address), given.get("api_key"))


_FETCHES = Methods(
    "dashscope",
    {"dashscope.client.base_api": "AsyncTaskGetMixin"},
    {"_get": FETCHED_JOB},
    task_endpoint,
    body=lambda instance, given: {"path": f"/tasks/{given['task_id']}"},
)
"""How a synchronous client asks about a job."""


class DashScopeInstrumentor(Instrumentor):
    """Records the calls of the `dashscope` package."""

    library = "dashscope"
    distribution = "dashscope"
    supports = "dashscope >= 1.23, < 3"

    def patches(self) -> Patches:
        """Return the methods that requests pass through, over HTTP and over a socket."""
        return [*_REQUESTS.patches(), *_FETCHES.patches()]
