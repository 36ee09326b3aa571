"""Together's library, generated as OpenAI's is."""

from __future__ import annotations

from functools import partial
from typing import Any

import together

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /chat/completions   chat.completions.create   generates
POST   /completions        completions.create        generates
"""

_METHODS = stainless.Methods(together.Together(api_key="test"), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("together", recording.origin + route.prefix), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Together."""
    kind: Any = together.AsyncTogether if asynchronous else together.Together
    return kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))


SDK = Sdk(
    package="together",
    library="together",
    sends=lambda provider, operation: provider == "together",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "together"),
    client=client,
    ways=_METHODS.ways,
)
