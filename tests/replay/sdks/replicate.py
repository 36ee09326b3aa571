"""Replicate's library. What creates a prediction was not recorded: one that has ended is played as the answer to it."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import replicate
from replicate.version import Versions

from ...instrumentors.provider import now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
GET    /v1/predictions/{id}                                  predictions.get
GET    /v1/models/{owner}/{name}/versions/{version}          models.versions.get
"""


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    key = ClientKey("replicate", recording.origin)
    answer = json.loads(recording.payload)
    if route.method == "predictions.get" and answer["status"] == "succeeded":
        given = {"version": f"{answer['model']}:{answer['version']}", "input": answer["input"]}
        return Plan(recording, key, "predictions.create", given, "billed", streams=False)
    return Plan(recording, key, route.method, route.arguments, route.kind, streams=False)


async def _plain(client: tuple[Any, bool], plan: Plan) -> Any:
    sdk, asynchronous = client
    prefix = "async_" * asynchronous
    given = dict(plan.kwargs)
    if plan.method == "models.versions.get":
        versions = Versions(sdk, (given["owner"], given["name"]))
        return await drained(await now(getattr(versions, f"{prefix}get")(given["version"])))
    if plan.method == "predictions.get":
        return await drained(await now(getattr(sdk.predictions, f"{prefix}get")(given["id"])))
    prediction = await now(getattr(sdk.predictions, f"{prefix}create")(**given))
    created = await drained(prediction)
    await now(getattr(prediction, f"{prefix}reload")())
    return (created, await drained(prediction))


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> tuple[Any, bool]:
    """A client, and which of its methods are to be called: it has both."""
    return replicate.Client("test", base_url=key.base_url, transport=wire.transport), asynchronous


SDK = Sdk(
    package="replicate",
    library="replicate",
    sends=lambda provider, operation: provider == "replicate",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "replicate"),
    client=client,
    ways=lambda plan: {"plain": _plain},
)
