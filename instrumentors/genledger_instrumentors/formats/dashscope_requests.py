"""Requests of Alibaba's clients of Model Studio: the JSON, and the older client's objects with a task and its data.

https://www.alibabacloud.com/help/en/model-studio/qwen-api-via-dashscope
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from genledger.engine.operation import Body, with_changes

from .dashscope_answers import JOBS

_JOB = re.compile(r"/tasks/[^/]+$")
_SPEECH = "/audio/tts/SpeechSynthesizer"


def fields_of(sent: Body) -> Body:
    """Return the fields of a request's JSON in one: its input's and its parameters', where it has those."""
    given = sent.get("input")
    if not isinstance(given, Mapping):
        return sent
    return {"model": sent.get("model"), **given, **(sent.get("parameters") or {})}


def with_fields(sent: Body, changes: Mapping[str, Any]) -> Body:
    """Return a request's JSON with a changed model, and changed parameters."""
    where = "parameters." if isinstance(sent.get("input"), Mapping) else ""
    return with_changes(sent, {name if name == "model" else where + name: value for name, value in changes.items()})


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
