"""Sends recorded requests through the real SDKs and answers them with what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import anthropic
import openai

from .observation import adrain, drain, seen
from .planning import ClientKey, Plan, parameters
from .recordings import Recording
from .transport import Reply, Wire, cut

WAYS = ("create", "raw", "streaming", "helper")
"""The ways into one endpoint: the method itself, raw responses, streaming responses, `.stream`/`.parse`."""

_NOT_SENT_TWICE_ALIKE = {"idempotency-key", "traceparent", "tracestate", "x-stainless-retry-count"}


class Sent(NamedTuple):
    """A request as it left the SDK; a JSON body is parsed."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: Any


@dataclass(frozen=True)
class Playback:
    """What one call gave the application, what it sent to the provider, and how many bodies it left open."""

    result: Any
    requests: list[Sent]
    left_open: int


class Player:
    """The clients of both SDKs, sync and async, all on in-process wires."""

    def __init__(self) -> None:
        self._wires = {sdk: Wire(sdk, self._answer) for sdk in ("openai", "anthropic")}
        self._clients: dict[tuple[ClientKey, bool], Any] = {}
        self._replies: dict[str, Reply] = {}
        self._current: Recording | None = None

    def play(self, plan: Plan, way: str = "create") -> Playback:
        """Make the planned call with the synchronous client."""
        wire = self._load(plan)
        client = self._client(plan.client, asynchronous=False)
        try:
            result = _sync(client, plan, way)
        except Exception as error:
            result = seen(error)
        return self._playback(wire, result)

    async def aplay(self, plan: Plan, way: str = "create") -> Playback:
        """Make the planned call with the asynchronous client."""
        wire = self._load(plan)
        client = self._client(plan.client, asynchronous=True)
        try:
            result = await _async(client, plan, way)
        except Exception as error:
            result = seen(error)
        return self._playback(wire, result)

    def _load(self, plan: Plan) -> Wire:
        wire = self._wires[plan.client.sdk]
        wire.forget()
        self._current = plan.recording
        return wire

    def _answer(self, request: Any) -> Reply:
        recording = self._current
        assert recording is not None
        if recording.url.path.endswith("/results") and not request.url.path.endswith("/results"):
            # The SDK first asks the batch where its results are.
            batch = {"id": "msgbatch_1", "type": "message_batch", "results_url": recording.url.geturl()}
            return Reply(200, {"content-type": "application/json"}, [json.dumps(batch).encode()])
        reply = self._replies.get(recording.file)
        if reply is None:
            chunks = cut(recording.payload, recording.file)
            reply = self._replies[recording.file] = Reply(recording.status, recording.headers, chunks)
        return reply

    def _client(self, key: ClientKey, *, asynchronous: bool) -> Any:
        client = self._clients.get((key, asynchronous))
        if client is None:
            client = self._clients[key, asynchronous] = self._new_client(key, asynchronous)
        return client

    def _new_client(self, key: ClientKey, asynchronous: bool) -> Any:
        wire = self._wires[key.sdk]
        options: dict[str, Any] = {
            "api_key": "test",
            "max_retries": 0,
            "timeout": 60.0,
            "http_client": wire.async_client if asynchronous else wire.client,
        }
        if key.sdk == "anthropic":
            anthropic_class = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
            return anthropic_class(base_url=key.base_url, **options)
        if key.azure is not None:
            endpoint, deployment, version = key.azure
            azure_class: Any = openai.AsyncAzureOpenAI if asynchronous else openai.AzureOpenAI
            return azure_class(azure_endpoint=endpoint, azure_deployment=deployment, api_version=version, **options)
        openai_class = openai.AsyncOpenAI if asynchronous else openai.OpenAI
        if "admin_api_key" in (openai_class.__init__.__kwdefaults__ or ()):
            options["admin_api_key"] = "test"
        return openai_class(base_url=key.base_url, **options)

    def _playback(self, wire: Wire, result: Any) -> Playback:
        requests = [_sent(request) for request in wire.requests]
        return Playback(result, requests, len(wire.left_open))


def ways(plan: Plan) -> Iterator[str]:
    """The ways in which the installed SDK can make the planned call."""
    yield "create"
    yield "raw"
    yield "streaming"
    if _helper(plan) is not None:
        yield "helper"


def _helper(plan: Plan) -> tuple[str, dict[str, Any]] | None:
    """The name of the SDK's helper beside `create` and the arguments for it."""
    resource, _, name = plan.method.rpartition(".")
    if name != "create" or resource not in ("chat.completions", "responses", "messages", "beta.messages"):
        return None
    helper = f"{resource}.{'stream' if plan.streams else 'parse'}"
    accepted = parameters(plan.client.sdk, helper)
    if accepted is None:
        return None
    kwargs: dict[str, Any] = {}
    extra = dict(plan.kwargs.get("extra_body", {}))
    for key, value in plan.kwargs.items():
        if key in ("stream", "extra_body"):
            continue
        if key in accepted and not (key == "tools" and not _strict(value)):
            kwargs[key] = value
        else:
            extra[key] = value
    if extra:
        kwargs["extra_body"] = extra
    return helper, kwargs


def _strict(tools: Any) -> bool:
    """Whether OpenAI's helpers take these tools, which they do only when each is a strict function."""
    return all(isinstance(t, dict) and t.get("function", t).get("strict") is True for t in tools or ())


def _sync(client: Any, plan: Plan, way: str) -> Any:
    if way == "create":
        return drain(attrgetter(plan.method)(client)(**plan.kwargs))
    resource, _, name = plan.method.rpartition(".")
    if way == "raw":
        raw = getattr(attrgetter(resource)(client).with_raw_response, name)(**plan.kwargs)
        return (seen(type(raw)), seen(raw.headers.multi_items()), raw.status_code, drain(raw.parse()))
    if way == "streaming":
        method = getattr(attrgetter(resource)(client).with_streaming_response, name)
        with method(**plan.kwargs) as response:
            read = b"".join(response.iter_bytes(7)) if len(plan.recording.file) % 2 else response.read()
            return (seen(type(response)), response.status_code, read)
    helper = _helper(plan)
    assert helper is not None
    method = attrgetter(helper[0])(client)
    if not plan.streams:
        return drain(method(**helper[1]))
    with method(**helper[1]) as stream:
        return (drain(stream), seen(_final(stream)()) if _final(stream) else None)


async def _async(client: Any, plan: Plan, way: str) -> Any:
    if way == "create":
        result = attrgetter(plan.method)(client)(**plan.kwargs)
        return await adrain(await result if hasattr(result, "__await__") else result)
    resource, _, name = plan.method.rpartition(".")
    if way == "raw":
        raw = await getattr(attrgetter(resource)(client).with_raw_response, name)(**plan.kwargs)
        parsed = raw.parse()
        parsed = await parsed if hasattr(parsed, "__await__") else parsed
        return (seen(type(raw)), seen(raw.headers.multi_items()), raw.status_code, await adrain(parsed))
    if way == "streaming":
        method = getattr(attrgetter(resource)(client).with_streaming_response, name)
        async with method(**plan.kwargs) as response:
            if len(plan.recording.file) % 2:
                read = b"".join([piece async for piece in response.iter_bytes(7)])
            else:
                read = await response.read()
            return (seen(type(response)), response.status_code, read)
    helper = _helper(plan)
    assert helper is not None
    method = attrgetter(helper[0])(client)
    if not plan.streams:
        return await adrain(await method(**helper[1]))
    async with method(**helper[1]) as stream:
        final = _final(stream)
        return (await adrain(stream), seen(await final()) if final else None)


def _final(stream: Any) -> Any:
    for name in ("get_final_completion", "get_final_response", "get_final_message"):
        if hasattr(stream, name):
            return getattr(stream, name)
    return None


def _sent(request: Any) -> Sent:
    headers = [(k, v) for k, v in request.headers.multi_items() if k not in _NOT_SENT_TWICE_ALIKE]
    content = request.content
    if content and request.headers.get("content-type", "").startswith("application/json"):
        content = json.loads(content)
    elif "multipart" in request.headers.get("content-type", ""):
        boundary = request.headers["content-type"].rpartition("=")[2]
        content = content.replace(boundary.encode(), b"boundary")
        headers = [(k, v) for k, v in headers if k != "content-type"]
    return Sent(request.method, str(request.url), headers, content)
