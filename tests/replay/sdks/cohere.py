"""Cohere's library: a client for each version of the API, and a method of its own for a stream."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import cohere

from ...instrumentors.provider import Within, now
from ..observation import drained, seen
from ..plan import ClientKey, Plan, Sdk, Way
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
POST   /v2/chat                   chat                           generates
POST   /v2/embed                  embed                          billed
POST   /v2/rerank                 rerank                         billed
POST   /v2/audio/transcriptions   audio.transcriptions.create    billed
POST   /v1/chat                   chat                           generates
POST   /v1/generate               generate                       generates
POST   /v1/embed                  embed                          billed
POST   /v1/rerank                 rerank                         billed
POST   /v1/tokenize               tokenize
"""

_CLIENTS: Mapping[str, tuple[Any, Any]] = {
    "v1": (cohere.Client, cohere.AsyncClient),
    "v2": (cohere.ClientV2, cohere.AsyncClientV2),
}
_METHODS = {version: kinds[0](api_key="test") for version, kinds in _CLIENTS.items()}


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    version = recording.url.path.split("/")[1]
    method = route.method + "_stream" * recording.stream
    accepted = inspect.signature(_raw_method(_METHODS[version], method)).parameters
    fields = recording.fields()
    fields.pop("stream", None)
    kwargs = {name: value for name, value in fields.items() if name in accepted}
    extra = {name: value for name, value in fields.items() if name not in accepted}
    if extra:
        kwargs["request_options"] = {"additional_body_parameters": extra}
    return Plan(recording, ClientKey("cohere", recording.origin, version), method, kwargs, route.kind, recording.stream)


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(attrgetter(plan.method)(client)(**plan.kwargs)))


async def _raw(client: Any, plan: Plan) -> Any:
    called = _raw_method(client, plan.method)(**plan.kwargs)
    if not plan.streams:
        return await _read(await now(called))
    async with Within(called) as response:
        return await _read(response)


def _raw_method(client: Any, method: str) -> Any:
    resource, _, name = method.rpartition(".")
    return getattr((attrgetter(resource)(client) if resource else client).with_raw_response, name)


async def _read(response: Any) -> Any:
    return (seen(type(response)), seen(dict(response.headers)), await drained(response.data))


def ways(plan: Plan) -> Mapping[str, Way]:
    """The method itself, and raw responses. Without them, `tokenize` asks for a file to do it here."""
    return {"plain": _raw} if plan.method == "tokenize" else {"plain": _plain, "raw": _raw}


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of one version."""
    http_client = wire.async_client if asynchronous else wire.client
    kind = _CLIENTS[key.variant][asynchronous]
    return kind(api_key="test", base_url=key.base_url, httpx_client=http_client, max_retries=0)


SDK = Sdk(
    package="cohere",
    library="cohere",
    sends=lambda provider, operation: provider == "cohere" or (provider, operation) == ("llamacpp", "rerank"),
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "cohere"),
    client=client,
    ways=ways,
    added=frozenset({"stream"}),
)
