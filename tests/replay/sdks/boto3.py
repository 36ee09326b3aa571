"""Amazon's library, whose methods, paths and fields are those of the service's own description."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.eventstream import EventStream
from botocore.response import StreamingBody
from botocore.validate import ParamValidator
from urllib3 import HTTPResponse

from ..observation import drained, seen
from ..plan import ClientKey, Kind, Plan, Sdk, Way
from ..recordings import Recording
from ..transport import Body, Received, Reply

_SERVICES = {
    "bedrock": "bedrock-runtime",
    "bedrock_agent": "bedrock-agent-runtime",
    "sagemaker": "sagemaker-runtime",
}

_KINDS: Mapping[str, Kind] = {
    "Converse": "generates",
    "ConverseStream": "generates",
    "InvokeModel": "generates",
    "InvokeModelWithResponseStream": "generates",
    "CountTokens": "unbilled",
    "Rerank": "billed",
    "InvokeAgent": "billed",
    "InvokeEndpoint": "generates",
    "RetrieveAndGenerate": "billed",
    "RetrieveAndGenerateStream": "billed",
}


def plan(recording: Recording) -> Plan | str:
    """How the installed version would have sent the recorded request, or why it cannot."""
    name = _SERVICES[recording.provider]
    service = _service(name)
    for operation in map(service.operation_model, service.operation_names):
        path = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", operation.http["requestUri"])
        match = re.fullmatch(path, recording.url.path)
        if match is None or operation.http["method"] != recording.method:
            continue
        given = {name: unquote(value) for name, value in match.groupdict().items()}
        given |= _parameters(operation.input_shape, recording)
        refused = ParamValidator().validate(given, operation.input_shape)
        if refused.has_errors():
            return f"{operation.name}: {refused.generate_report()}"
        region = recording.url.netloc.removeprefix("runtime.").split(".")[1]
        key = ClientKey("boto3", recording.origin, name, (("region_name", region),))
        streams = operation.has_event_stream_output
        method = xform_name(operation.name)
        kind = _KINDS.get(operation.name, "other")
        if kind == "generates" and re.search("embed|rerank", given.get("modelId", "")):
            kind = "billed"
        return Plan(recording, key, method, given, kind, streams)
    return f"no method of the SDK sends {recording.method} {recording.url.path}"


def _parameters(shape: Any, recording: Recording) -> dict[str, Any]:
    """The parameters in the headers and the body of a request."""
    given: dict[str, Any] = {}
    for name, member in shape.members.items():
        header = member.serialization.get("name", "").lower()
        if member.serialization.get("location") == "header" and header in recording.request_headers:
            given[name] = recording.request_headers[header]
    document = shape.serialization.get("payload")
    if document is not None:
        return {**given, document: json.dumps(recording.fields()).encode()}
    return {**given, **_typed(shape, recording.fields())}


def _typed(shape: Any, value: Any) -> Any:
    """A JSON value as the library takes it: bytes are base64 in JSON."""
    if shape.type_name == "blob":
        return b64decode(value)
    if shape.type_name == "list":
        return [_typed(shape.member, item) for item in value]
    if shape.type_name == "structure" and not shape.is_document_type:
        members = shape.members
        return {name: _typed(members[name], item) if name in members else item for name, item in value.items()}
    return value


class Wire:
    """What answers the requests of the library, in the place of its HTTP session."""

    def __init__(self, respond: Callable[[Any], Reply]) -> None:
        self.respond = respond
        self.requests: list[Received] = []
        self.bodies: list[Body] = []

    def answer(self, request: Any, **kwargs: Any) -> AWSResponse:
        """Answer one request."""
        headers = {name: _text(value) for name, value in request.headers.items()}
        received = Received(request.method, request.url, headers, request.body or b"")
        self.requests.append(received)
        reply = self.respond(received)
        body = Body(reply.chunks)
        self.bodies.append(body)
        raw = HTTPResponse(body, reply.headers, reply.status, preload_content=False)
        return AWSResponse(request.url, reply.status, raw.headers, raw)

    def forget(self) -> None:
        """Drop what was seen so far."""
        self.requests.clear()
        self.bodies.clear()

    @property
    def left_open(self) -> list[Body]:
        """The response bodies that nobody closed."""
        return [body for body in self.bodies if not body.closed]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@cache
def _service(name: str) -> Any:
    return boto3.client(name, region_name="us-east-1").meta.service_model


def client(key: ClientKey, wire: Wire, asynchronous: bool) -> Any:
    """A client of a service."""
    credentials = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    made = boto3.client(key.variant, endpoint_url=key.base_url, **dict(key.settings), **credentials)
    made.meta.events.register("before-send", wire.answer)
    return made


async def _plain(client: Any, plan: Plan) -> Any:
    result = getattr(client, plan.method)(**plan.kwargs)
    parts = {name: part for name, part in result.items() if isinstance(part, (EventStream, StreamingBody))}
    rest = seen({name: seen(type(part)) if name in parts else part for name, part in result.items()})
    read = [iter(part) if isinstance(part, EventStream) else part.read() for part in parts.values()]
    return (rest, *[await drained(part) for part in read])


async def _pieces(client: Any, plan: Plan) -> Any:
    result = getattr(client, plan.method)(**plan.kwargs)
    bodies = [part for part in result.values() if isinstance(part, StreamingBody)]
    return [list(body.iter_chunks(7)) if len(plan.recording.file) % 2 else list(body) for body in bodies]


def ways(plan: Plan) -> Mapping[str, Way]:
    """The method itself, and a document that is read in pieces."""
    return {"plain": _plain, "pieces": _pieces} if plan.method == "invoke_model" else {"plain": _plain}


SDK = Sdk(
    package="boto3",
    library="bedrock",
    sends=lambda provider, operation: provider in _SERVICES,
    plan=plan,
    unsendable=frozenset(),
    wire=Wire,
    client=client,
    ways=ways,
    asynchronous=False,
    also=("sagemaker",),
)
