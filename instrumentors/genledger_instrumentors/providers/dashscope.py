"""Alibaba's client of Model Studio, 1.23 to 2.x. https://github.com/dashscope/dashscope-sdk-python

API: https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope. It returns errors, and raises none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genledger.engine.operation import Body, Operation, with_changes
from genledger.instrumentation.adapters.request_objects import RequestObjects
from genledger.instrumentation.adapters.wire import WireClient
from genledger.instrumentation.instrumentor import Instrumentor

from ..formats.dashscope_answers import CHAT, EMBEDDINGS, RERANK

_TASKS: Mapping[str, Operation] = {
    "text-generation": CHAT,
    "multimodal-generation": CHAT,
    "text-embedding": EMBEDDINGS,
    "multimodal-embedding": EMBEDDINGS,
    "text-rerank": RERANK,
}


def task_of(request: Any) -> str:
    """Return the task of a request that is answered at once: those of jobs have an answer of their own."""
    task = getattr(getattr(request, "data", None), "task", None)
    return task if isinstance(task, str) and not (request.async_request or request.query) else ""


def body_of(request: Any) -> Body:
    """Return the fields of a request in one: its input's and its parameters'."""
    data = request.data
    given = data._input if isinstance(data._input, Mapping) else {}
    return {"model": data.model, **given, **data.parameters}


def write(request: Any, changes: Mapping[str, Any]) -> None:
    """Write the model, and changed parameters."""
    rest = dict(changes)
    request.data.model = rest.pop("model", request.data.model)
    request.data.parameters = with_changes(request.data.parameters, rest)


def address_of(request: Any) -> tuple[str, str]:
    """Return where a request goes, and its API key."""
    return request.url, str(request.headers.get("Authorization", "")).removeprefix("Bearer ")


CLIENT = RequestObjects(
    WireClient("dashscope", _TASKS, lambda request, host: "alibaba"),
    module="dashscope.api_entities.http_request",
    methods=("HttpRequest._handle_request", "HttpRequest._handle_aio_request"),
    name=task_of,
    address=address_of,
    body=body_of,
    write=write,
)


class DashScopeInstrumentor(Instrumentor):
    """Records the calls of the `dashscope` package."""

    library = "dashscope"
    distribution = "dashscope"
    supports = "dashscope >= 1.23, < 3"
    client = CLIENT
