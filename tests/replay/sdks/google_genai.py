"""Google's library: what it is given of a request is sent as it is, as the extra part of a body."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import unquote

from google import genai
from google.oauth2.credentials import Credentials

from ...instrumentors.provider import now
from ..observation import drained
from ..plan import ClientKey, Plan, Sdk, Way
from ..recordings import Recording
from ..routes import find
from ..transport import Wire

_ROUTES = """
POST   /{version}/{resource}:generateContent         models.generate_content          generates
POST   /{version}/{resource}:streamGenerateContent   models.generate_content_stream   generates
POST   /{version}/{resource}:countTokens             models.count_tokens              unbilled
POST   /{version}/{resource}:batchEmbedContents      models.embed_content             billed
POST   /{version}/{resource}:embedContent            models.embed_content             billed
POST   /{version}/cachedContents                     caches.create                    billed
POST   /{version}/interactions                       interactions.create              generates
"""
_OPERATIONS = {
    *("generateContent", "streamGenerateContent", "countTokens", "batchEmbedContents", "embedContent", "predict"),
    *("cachedContents", "interactions"),
}


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    if recording.method != "POST":
        return "only what sends fields is replayed"
    if "enum-encoding" in recording.url.query:
        return "the library reads no enums that are numbers"
    version, _, resource = recording.url.path.strip("/").partition("/")
    project = "/".join(resource.split("/")[:4]) if resource.startswith("projects/") else ""
    return _plan(recording, version, project, resource.rpartition("/")[2])


def _plan(recording: Recording, version: str, project: str, last: str) -> Plan | str:
    flat = Recording(**{**recording.__dict__, "url": recording.url._replace(path=f"/{version}/{last}")})
    route = find(_ROUTES, flat)
    if isinstance(route, str):
        return route.replace(last, last.partition(":")[2] or "…")
    settings = (("api_version", version), ("project", unquote(project)))
    key = ClientKey("google_genai", recording.origin, recording.provider, settings)
    body = recording.fields()
    if route.method == "interactions.create":
        return Plan(recording, key, route.method, body, route.kind, body.get("stream") is True)
    given: dict[str, Any] = {"config": {"http_options": {"extra_body": body}}}
    if route.method != "caches.create":
        given["contents"] = "nothing"
    given["model"] = route.arguments.get("resource", "gemini-2.5-flash")
    return Plan(recording, key, route.method, given, route.kind, recording.stream)


async def _plain(client: Any, plan: Plan) -> Any:
    return await drained(await now(attrgetter(plan.method)(client)(**plan.kwargs)))


async def _chat(client: Any, plan: Plan) -> Any:
    chat = client.chats.create(model=plan.kwargs["model"])
    method = chat.send_message_stream if plan.streams else chat.send_message
    return await drained(await now(method(plan.kwargs["contents"], plan.kwargs["config"])))


def ways(plan: Plan) -> Mapping[str, Way]:
    """The method itself, and a chat that uses it."""
    return {"plain": _plain, "chat": _chat} if plan.method.startswith("models.generate") else {"plain": _plain}


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of one of the two platforms."""
    settings = dict(key.settings)
    options: Any = {
        "base_url": key.base_url,
        "api_version": settings["api_version"],
        "httpx_client": wire.client,
        "httpx_async_client": wire.async_client,
    }
    if key.variant != "vertex":
        made = genai.Client(api_key="test", http_options=options)
    elif settings["project"]:
        _, project, _, location = settings["project"].split("/")
        credentials = Credentials(token="test")  # type: ignore[no-untyped-call]
        made = genai.Client(
            vertexai=True, project=project, location=location, credentials=credentials, http_options=options
        )
    else:
        made = genai.Client(vertexai=True, api_key="test", http_options=options)
    return made.aio if asynchronous else made


SDK = Sdk(
    package="google.genai",
    library="google-genai",
    sends=lambda provider, operation: provider in ("google_genai", "vertex") and operation in _OPERATIONS,
    plan=plan,
    unsendable=frozenset(
        {
            "only what sends fields is replayed",
            "the library reads no enums that are numbers",
            "no method of the SDK sends POST /v1beta1/predict",
        }
    ),
    added=frozenset({"contents", "generationConfig", "role"}),
    wire=partial(Wire, "google_genai"),
    client=client,
    ways=ways,
)
