"""The library of Z.ai, a fork of what Stainless generates."""

from __future__ import annotations

from functools import partial
from typing import Any

import zai

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /api/paas/v4/chat/completions   chat.completions.create   generates
"""

_METHODS = stainless.Methods(zai.ZaiClient(api_key="test"), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("zai", f"{recording.origin}/api/paas/v4"), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client; there are only synchronous ones."""
    return zai.ZaiClient(base_url=key.base_url, **stainless.options(wire, asynchronous=False))


SDK = Sdk(
    package="zai",
    library="zai-sdk",
    sends=lambda provider, operation: provider == "zai",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "zai"),
    client=client,
    ways=lambda plan: {"plain": _METHODS.ways(plan)["plain"]},
    added=frozenset({"response_format"}),
    asynchronous=False,
)
