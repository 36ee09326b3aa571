"""LiteLLM's library, to a proxy of LiteLLM: by a client of OpenAI that it is given."""

from __future__ import annotations

from functools import partial
from typing import Any

import litellm
import openai

from ...contract.rows.litellm_openai import Read, ReadAsync, settled
from ...instrumentors.provider import now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import Wire
from . import stainless

_ROUTES = """
POST   /chat/completions                                    completion  generates
"""


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    body = recording.fields()
    given = {**body, "model": f"litellm_proxy/{body['model']}"}
    key = ClientKey("litellm", recording.origin + route.prefix)
    return Plan(recording, key, route.method, given, route.kind, streams=body.get("stream") is True)


async def _plain(client: tuple[dict[str, Any], bool], plan: Plan) -> Any:
    given, asynchronous = client
    function = litellm.acompletion if asynchronous else litellm.completion
    result = await now(function(**given, **plan.kwargs))
    if plan.streams:
        return await drained(ReadAsync(result) if asynchronous else Read(result))
    return await drained(settled(result))


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> tuple[dict[str, Any], bool]:
    """What is given to each call, and which function is to be called."""
    kind: Any = openai.AsyncOpenAI if asynchronous else openai.OpenAI
    made = kind(base_url=key.base_url, **stainless.options(wire, asynchronous=asynchronous))
    return {"client": made, "api_base": key.base_url, "api_key": "test"}, asynchronous


SDK = Sdk(
    package="litellm",
    library="litellm",
    sends=lambda provider, operation: provider == "litellm_proxy",
    plan=plan,
    unsendable=frozenset(),
    wire=partial(Wire, "openai"),
    client=client,
    ways=lambda plan: {"plain": _plain},
)
