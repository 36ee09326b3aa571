"""Voyage's library. Its asynchronous client is over another HTTP library, and is not replayed."""

from __future__ import annotations

from typing import Any

import voyageai
from voyageai.api_resources import api_requestor

from ..observation import drained
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import RequestsWire

_ROUTES = """
POST   /v1/embeddings   embed    billed
POST   /v1/rerank       rerank   billed
"""

_NAMES = {"input": "texts"}


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    given = {_NAMES.get(name, name): value for name, value in recording.fields().items()}
    given.pop("encoding_format", None)  # the library chooses it
    return Plan(recording, ClientKey("voyageai", f"{recording.origin}/v1"), route.method, given, route.kind, False)


async def _plain(client: tuple[Any, Any], plan: Plan) -> Any:
    sdk, session = client
    voyageai.requestssession = session
    vars(api_requestor._thread_context).clear()  # an older session of this thread goes first
    try:
        return await drained(getattr(sdk, plan.method)(**plan.kwargs))
    finally:
        voyageai.requestssession = None
        vars(api_requestor._thread_context).clear()


def client(key: ClientKey, wire: RequestsWire, asynchronous: bool) -> tuple[Any, Any]:
    """A client, and what sends its requests."""
    return voyageai.Client("test", base_url=key.base_url), wire.session


SDK = Sdk(
    package="voyageai",
    library="voyageai",
    sends=lambda provider, operation: provider == "voyage",
    plan=plan,
    unsendable=frozenset(),
    wire=RequestsWire,
    client=client,
    ways=lambda plan: {"plain": _plain},
    added=frozenset({"encoding_format", "input_type", "truncation", "output_dtype", "output_dimension"}),
    asynchronous=False,
)
