"""Google's client of Vertex AI, over REST: it asks for enums as numbers. Its asynchronous client uses gRPC alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.api_core.gapic_v1.client_info import ClientInfo
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1, aiplatform_v1beta1

from ..plan import ClientKey, Plan, Sdk
from ..recordings import Recording
from ..routes import find
from ..transport import RequestsWire

_ROUTES = """
POST   /{version}/projects/{project}/locations/{place}/publishers/google/models/{model}:generateContent         generate_content          generates
POST   /{version}/projects/{project}/locations/{place}/publishers/google/models/{model}:streamGenerateContent   stream_generate_content   generates
"""  # noqa: E501
_VERSIONS = {"v1": aiplatform_v1, "v1beta1": aiplatform_v1beta1}
_OTHERS = "Google's other client sends it"


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    if "enum-encoding" not in recording.url.query:
        return _OTHERS
    route = find(_ROUTES, recording)
    if isinstance(route, str):
        return route
    version = route.arguments["version"]
    asked = {**recording.fields(), "model": recording.url.path.removeprefix(f"/{version}/").partition(":")[0]}
    request = _VERSIONS[version].GenerateContentRequest.from_json(json.dumps(asked))
    key = ClientKey("vertexai", recording.url.netloc, version)
    return Plan(recording, key, route.method, {"request": request}, route.kind, recording.stream)


async def _plain(client: Any, plan: Plan) -> Any:
    try:
        result = getattr(client, plan.method)(**plan.kwargs)
    except GoogleAPICallError as error:
        error.response.elapsed = timedelta(0)  # which is never the same
        raise
    return [type(one).to_dict(one) for one in (result if plan.streams else [result])]


def client(key: ClientKey, wire: RequestsWire, asynchronous: bool) -> Any:
    """A client that sends with the wire's session."""
    kind = _VERSIONS[key.variant].PredictionServiceClient
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    transport = kind.get_transport_class("rest")(host=key.base_url, credentials=credentials)
    transport._session = wire.session
    transport._prep_wrapped_messages(ClientInfo())  # each method is remembered with the session
    return kind(transport=transport)


SDK = Sdk(
    package="vertexai",
    library="vertexai",
    sends=lambda provider, operation: provider == "vertex" and operation.endswith("enerateContent"),
    plan=plan,
    unsendable=frozenset({_OTHERS}),
    wire=RequestsWire,
    client=client,
    ways=lambda plan: {"plain": _plain},
    asynchronous=False,
)
