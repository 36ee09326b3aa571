"""LiteLLM's library, to a proxy of LiteLLM: by a client of OpenAI that it is given."""

from __future__ import annotations

from functools import partial
from typing import Any

import litellm
import openai

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


class OneWay:
    """A stream read one way, without what LiteLLM makes up for each of its chunks."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream


class Read(OneWay):
    """As a synchronous application reads it."""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return _settled(next(self._stream))


class ReadAsync(OneWay):
    """As an asynchronous application reads it."""

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return _settled(await anext(self._stream))


def _settled(result: Any) -> Any:
    result.created = 1790000000
    result.__dict__.pop("_response_ms", None)
    (result.__pydantic_extra__ or {}).pop("_response_ms", None)
    return result


async def _plain(client: tuple[dict[str, Any], bool], plan: Plan) -> Any:
    given, asynchronous = client
    function = litellm.acompletion if asynchronous else litellm.completion
    result = await now(function(**given, **plan.kwargs))
    if plan.streams:
        return await drained(ReadAsync(result) if asynchronous else Read(result))
    return await drained(_settled(result))


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
