"""Writer's library, generated as OpenAI's is."""

from __future__ import annotations

from functools import partial
from typing import Any

import writerai

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /v1/chat          chat.chat            generates
POST   /v1/completions   completions.create   generates
"""

_METHODS = stainless.Methods(writerai.Writer(api_key="test"), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("writerai", recording.origin + route.prefix), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Writer."""
    kind: Any = writerai.AsyncWriter if asynchronous else writerai.Writer
    return kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))


SDK = Sdk(
    package="writerai",
    library="writer-sdk",
    sends=lambda provider, operation: provider == "writer",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "writerai"),
    client=client,
    ways=_METHODS.ways,
)
