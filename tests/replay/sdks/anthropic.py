"""Anthropic's library, which sends the requests of every provider that speaks Anthropic's format."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import anthropic

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /v1/messages                                         messages.create       generates
POST   /v1/messages/count_tokens                            messages.count_tokens  unbilled
POST   /v1/messages/batches                                 messages.batches.create
GET    /v1/messages/batches/{message_batch_id}/results      messages.batches.results  unbilled
GET    /v1/messages/batches/{message_batch_id}              messages.batches.retrieve
POST   /v1/files                                            files.upload
DELETE /v1/files/{file_id}                                  files.delete
GET    /v1/models                                           models.list
"""

_METHODS = stainless.Methods(
    anthropic.Anthropic(api_key="test"),
    {
        name: {"model": "claude-unknown", "max_tokens": 1, "messages": []}
        for name in ("messages.create", "beta.messages.create")
    },
)


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    query = dict(parse_qsl(recording.url.query))
    if query.pop("beta", "") == "true" or "anthropic-beta" in recording.request_headers:
        route = route._replace(method=f"beta.{route.method}")
    return _METHODS.plan(recording, ClientKey("anthropic", recording.origin + route.prefix), route, query)


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Anthropic."""
    kind: Any = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))


SDK = Sdk(
    package="anthropic",
    library="anthropic",
    sends=lambda provider, operation: provider == "anthropic" or operation == "messages",
    plan=plan,
    unsendable=frozenset({"no method of the SDK sends POST /v1/complete"}),
    wire=partial(Wire, "anthropic"),
    client=client,
    ways=_METHODS.ways,
)
