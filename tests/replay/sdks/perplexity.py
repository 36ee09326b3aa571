"""Perplexity's library, generated as OpenAI's is."""

from __future__ import annotations

from functools import partial
from typing import Any

import perplexity

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /chat/completions   chat.completions.create   generates
POST   /v1/embeddings      embeddings.create         billed
GET    /v1/models          models.list
"""

_METHODS = stainless.Methods(perplexity.Perplexity(api_key="test"), {})


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    return _METHODS.plan(recording, ClientKey("perplexity", recording.origin + route.prefix), route, {})


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of Perplexity."""
    kind: Any = perplexity.AsyncPerplexity if asynchronous else perplexity.Perplexity
    return kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))


SDK = Sdk(
    package="perplexity",
    library="perplexityai",
    sends=lambda provider, operation: provider == "perplexity",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "perplexity"),
    client=client,
    ways=_METHODS.ways,
)
