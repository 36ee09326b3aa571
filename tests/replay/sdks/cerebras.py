"""Cerebras' library, generated as OpenAI's is."""

from __future__ import annotations

from functools import partial
from typing import Any

from cerebras.cloud.sdk import AsyncCerebras, Cerebras

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /v1/chat/completions   chat.completions.create   generates
POST   /v1/completions        completions.create        generates
GET    /v1/models             models.list
"""

_METHODS = stainless.Methods(Cerebras(api_key="test", warm_tcp_connection=False), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("cerebras", recording.origin + route.prefix), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Cerebras."""
    kind: Any = AsyncCerebras if asynchronous else Cerebras
    options = stainless.options(wire, asynchronous=asynchronous)
    return kind(base_url=key.base_url, warm_tcp_connection=False, **options)


SDK = Sdk(
    package="cerebras",
    library="cerebras-cloud-sdk",
    sends=lambda provider, operation: provider == "cerebras",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "cerebras"),
    client=client,
    ways=_METHODS.ways,
)
