"""Mistral's library: it validates what it is given, and has a method of its own for a stream."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from mistralai.client import Mistral

from ...instrumentors.provider import Within, now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk, Way
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
POST   /v1/chat/completions      chat.complete                   generates
POST   /v1/embeddings            embeddings.create               billed
POST   /v1/audio/speech          audio.speech.complete           billed
POST   /v1/audio/transcriptions  audio.transcriptions.complete   billed
POST   /v1/files                 files.upload
"""

_METHODS = Mistral(api_key="test")


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    method = "chat.stream" if recording.stream else route.method
    fields = {name: _file(value) if isinstance(value, tuple) else value for name, value in recording.fields().items()}
    fields.pop("stream", None)
    if method == "embeddings.create":
        fields["inputs"] = fields.pop("input")
    unknown = fields.keys() - inspect.signature(attrgetter(method)(_METHODS)).parameters
    if unknown:
        return f"{method} of the SDK takes no {', '.join(sorted(unknown))}"
    return Plan(recording, ClientKey("mistralai", recording.origin), method, fields, route.kind, recording.stream)


def _file(value: tuple[str, bytes]) -> dict[str, Any]:
    return {"file_name": value[0], "content": value[1]}


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(_call(client, plan)))


async def _within(client: Any, plan: Plan) -> Any:
    async with Within(await now(_call(client, plan))) as stream:
        return await drained(stream)


def _call(client: tuple[Any, bool], plan: Plan) -> Any:
    sdk, asynchronous = client
    return attrgetter(plan.method + "_async" * asynchronous)(sdk)(**plan.kwargs)


def ways(plan: Plan) -> Mapping[str, Way]:
    """The method itself, and its stream as a context manager."""
    return {"plain": _plain, "within": _within} if plan.streams else {"plain": _plain}


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> tuple[Any, bool]:
    """A client, and which of its methods are to be called: it has both."""
    sdk = Mistral(api_key="test", server_url=key.base_url, client=wire.client, async_client=wire.async_client)
    return sdk, asynchronous


SDK = Sdk(
    package="mistralai",
    library="mistralai",
    sends=lambda provider, operation: provider == "mistral",
    plan=plan,
    unsendable=frozenset({"audio.speech.complete of the SDK takes no voice"}),
    wire=partial(Wire, "mistralai"),
    client=client,
    ways=ways,
    added=frozenset({"stream", "type", "index", "prefix"}),
)
