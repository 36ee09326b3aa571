"""Ollama's library: what is not given to it is not sent, nor is what is empty in a message."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import ollama

from ...instrumentors.provider import now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
POST   /api/chat         chat         generates
POST   /api/generate     generate     generates
POST   /api/embeddings   embeddings   billed
"""


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    body = {
        name: value for name, value in recording.fields().items() if value is not None and (value or name != "images")
    }
    for message in (messages := [dict(one) for one in body.get("messages", ())]):
        message.update(tool_calls=[{"function": _function(call)} for call in message.get("tool_calls") or ()])
    if messages:
        body["messages"] = [{name: value for name, value in one.items() if value} for one in messages]
    sent = replace(recording, request_body=body)
    return Plan(sent, ClientKey("ollama", recording.origin), route.method, body, route.kind, recording.stream)


def _function(call: dict[str, Any]) -> dict[str, Any]:
    return {name: call["function"][name] for name in ("name", "arguments")}


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(getattr(client, plan.method)(**plan.kwargs)))


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of a server."""
    return (ollama.AsyncClient if asynchronous else ollama.Client)(host=key.base_url, transport=wire.transport)


SDK = Sdk(
    package="ollama",
    library="ollama",
    sends=lambda provider, operation: provider == "ollama",
    plan=plan,
    unsendable=frozenset(
        {"no method of the SDK sends GET /", "no method of the SDK sends POST /v1/chat/completions"},
    ),
    wire=partial(Wire, "ollama"),
    client=client,
    ways=lambda plan: {"plain": _plain},
    added=frozenset({"tools", "stream"}),
)
