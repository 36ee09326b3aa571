"""Alibaba's client of Model Studio, 1.23 to 2.x. https://github.com/dashscope/dashscope-sdk-python

API: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope. It returns errors, and raises none.
Sessions that stay open (`tts_v2`, `qwen_omni`, `multimodal_dialog`) are not recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Endpoint, Operation
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
from ..formats.dashscope_requests import address_of, body_of, task_of, write
from ..formats.openai_media import COUNTED_IMAGES
from .dashscope_v2 import second_client_patches

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
        """Return the methods that requests pass through, of both clients, over HTTP and over a socket."""
        return [*_REQUESTS.patches(), *_FETCHES.patches(), *second_client_patches()]
