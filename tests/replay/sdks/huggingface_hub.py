"""Hugging Face's library: its inference client, given the address that a recording was made at."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Any

import huggingface_hub
from huggingface_hub.utils import _http

from ...instrumentors.provider import now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..transport import Wire, http_library

_TASK = re.compile(r"/pipeline/(?P<task>[a-z-]+)/.*")
_METHODS = {"question-answering": "question_answering", "feature-extraction": "feature_extraction"}


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    address = recording.url.geturl()
    fields = _without_null(recording.fields())
    task = _TASK.fullmatch(recording.url.path)
    if task is not None:
        # What it was told beside the inputs, today's client does not send.
        sent = replace(recording, request_body={"inputs": fields["inputs"]})
        given = fields["inputs"] if isinstance(fields["inputs"], dict) else {"text": fields["inputs"]}
        least = {"context": ""} if task["task"] == "question-answering" else {}
        method = _METHODS[task["task"]]
        return Plan(sent, ClientKey("huggingface_hub", address), method, {**least, **given}, "billed", False)
    sent = replace(recording, request_body=fields)
    if "messages" in fields:
        key = ClientKey("huggingface_hub", address.removesuffix("/chat/completions"))
        return Plan(sent, key, "chat_completion", fields, "generates", recording.stream)
    given = {"prompt": fields["inputs"], "stream": fields["stream"], **fields["parameters"]}
    return Plan(sent, ClientKey("huggingface_hub", address), "text_generation", given, "generates", recording.stream)


def _without_null(value: Any) -> Any:
    """What the client sends of a value: nothing that is null."""
    if isinstance(value, dict):
        return {name: _without_null(one) for name, one in value.items() if one is not None}
    return [_without_null(one) for one in value] if isinstance(value, list) else value


async def _plain(client: tuple[Any, Any], plan: Plan) -> Any:
    sdk, transport = client
    http = http_library("huggingface_hub")
    # The library makes the HTTP clients, for the whole process, and closes them.
    huggingface_hub.set_client_factory(lambda: http.Client(transport=transport))
    huggingface_hub.set_async_client_factory(lambda: http.AsyncClient(transport=transport))
    try:
        return await drained(await now(getattr(sdk, plan.method)(**plan.kwargs)))
    finally:
        huggingface_hub.set_client_factory(_http.default_client_factory)
        huggingface_hub.set_async_client_factory(_http.default_async_client_factory)


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> tuple[Any, Any]:
    """A client of an address, and what answers it."""
    kind = huggingface_hub.AsyncInferenceClient if asynchronous else huggingface_hub.InferenceClient
    return kind(model=key.base_url, token="test"), wire.transport


SDK = Sdk(
    package="huggingface_hub",
    library="huggingface-hub",
    sends=lambda provider, operation: provider == "huggingface",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "huggingface_hub"),
    client=client,
    ways=lambda plan: {"plain": _plain},
    added=frozenset({"context", "parameters"}),
)
