"""Deepgram's library: what is not in the body of a request is in its address."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qsl

import deepgram
from deepgram.environment import DeepgramClientEnvironment

from ...instrumentors.provider import now
from ..observation import drained, seen
from ..plan import ClientKey, Plan, Sdk, Way
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
POST   /v1/listen    listen.v1.media    billed
GET    /v1/models    manage.v1.models
"""


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    given: dict[str, Any] = dict(parse_qsl(recording.url.query))
    key = ClientKey("deepgram", recording.origin)
    if route.method == "manage.v1.models":
        return Plan(recording, key, f"{route.method}.list", given, route.kind, streams=False)
    sent = recording.request_body
    given |= {"request": sent} if isinstance(sent, bytes) else sent
    method = "transcribe_file" if isinstance(sent, bytes) else "transcribe_url"
    return Plan(recording, key, f"{route.method}.{method}", given, route.kind, streams=False)


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(attrgetter(plan.method)(client)(**plan.kwargs)))


async def _raw(client: Any, plan: Plan) -> Any:
    resource, _, name = plan.method.rpartition(".")
    response = await now(getattr(attrgetter(resource)(client).with_raw_response, name)(**plan.kwargs))
    return (seen(type(response)), seen(dict(response.headers)), await drained(response.data))


def ways(plan: Plan) -> Mapping[str, Way]:
    """The method itself, and raw responses."""
    return {"plain": _plain, "raw": _raw}


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client."""
    kind = deepgram.AsyncDeepgramClient if asynchronous else deepgram.DeepgramClient
    names = vars(DeepgramClientEnvironment.PRODUCTION)
    http_client = wire.async_client if asynchronous else wire.client
    there = DeepgramClientEnvironment(**dict.fromkeys(names, key.base_url))
    return kind(api_key="test", environment=there, httpx_client=http_client)


SDK = Sdk(
    package="deepgram",
    library="deepgram",
    sends=lambda provider, operation: provider == "deepgram",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "deepgram"),
    client=client,
    ways=ways,
)
