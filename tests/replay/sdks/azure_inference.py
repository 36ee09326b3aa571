"""Azure's inference library, over Azure's HTTP pipeline."""

from __future__ import annotations

from typing import Any

from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncChatCompletionsClient
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.transport import AsyncioRequestsTransport, RequestsTransport

from ...instrumentors.provider import items, now
from ..observation import seen
from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import RequestsWire

_ROUTES = """
POST   /chat/completions   complete   generates
"""


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    if recording.url.path.startswith(("/openai", "//openai")):
        return "is of another library"
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    key = ClientKey("azure_inference", recording.origin + route.prefix)
    return Plan(recording, key, route.method, {"body": recording.fields()}, route.kind, recording.stream)


async def _plain(client: Any, plan: Plan) -> Any:
    result = await now(client.complete(**plan.kwargs))
    parts = await items(result) if plan.streams else [result]
    return (seen(type(result)), [(seen(type(part)), seen(part.as_dict())) for part in parts])


def client(key: ClientKey, wire: RequestsWire, asynchronous: bool) -> Any:
    """A client of an address."""
    given = {"session": wire.session, "session_owner": False}
    credential = AzureKeyCredential("test")
    if asynchronous:
        there: Any = AsyncioRequestsTransport(**given)
        return AsyncChatCompletionsClient(key.base_url, credential, transport=there)
    return ChatCompletionsClient(key.base_url, credential, transport=RequestsTransport(**given))


SDK = Sdk(
    package="azure.ai.inference",
    library="azure-ai-inference",
    sends=lambda provider, operation: provider == "azure_openai" and operation == "chat",
    plan=plan,
    unsendable=frozenset({"is of another library"}),
    wire=RequestsWire,
    client=client,
    ways=lambda plan: {"plain": _plain},
)
