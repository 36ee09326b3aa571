"""Sends recorded requests through the real SDKs and answers them with what was recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .observation import seen
from .plan import ClientKey, Plan, Sdk
from .recordings import Recording
from .transport import Reply, cut

_NOT_SENT_TWICE_ALIKE = {
    *("idempotency-key", "traceparent", "tracestate", "x-stainless-retry-count"),
    *("amz-sdk-invocation-id", "amz-sdk-request", "authorization", "x-amz-date"),
    "x-ms-client-request-id",
}


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
    """The clients of the SDKs, sync and async, all on in-process wires."""

    def __init__(self, sdks: Mapping[str, Sdk]) -> None:
        self._sdks = sdks
        self._wires = {name: sdk.wire(self._answer) for name, sdk in sdks.items()}
        self._clients: dict[tuple[ClientKey, bool], Any] = {}
        self._replies: dict[str, Reply] = {}
        self._current: Recording | None = None

    async def play(self, plan: Plan, way: str, *, asynchronous: bool) -> Playback:
        """Make the planned call with one of the two clients."""
        sdk, wire = self._sdks[plan.client.sdk], self._wires[plan.client.sdk]
        wire.forget()
        self._current = plan.recording
        client = self._clients.get((plan.client, asynchronous))
        if client is None:
            client = self._clients[plan.client, asynchronous] = sdk.client(plan.client, wire, asynchronous)
        try:
            result = await sdk.ways(plan)[way](client, plan)
        except Exception as error:
            result = seen(error)
        return Playback(result, [_sent(request) for request in wire.requests], len(wire.left_open))

    def _answer(self, request: Any) -> Reply:
        recording = self._current
        assert recording is not None
        if recording.url.path.endswith("/results") and not request.url.path.endswith("/results"):
            # Anthropic's SDK first asks the batch where its results are.
            batch = {"id": "msgbatch_1", "type": "message_batch", "results_url": recording.url.geturl()}
            return Reply(200, {"content-type": "application/json"}, [json.dumps(batch).encode()])
        reply = self._replies.get(recording.file)
        if reply is None:
            chunks = cut(recording.payload, recording.file)
            reply = self._replies[recording.file] = Reply(recording.status, recording.headers, chunks)
        return reply


def _sent(request: Any) -> Sent:
    headers = [(k.lower(), v) for k, v in request.headers.items() if k.lower() not in _NOT_SENT_TWICE_ALIKE]
    content = request.content
    kind = request.headers.get("content-type", "")
    if content and kind.startswith("application/json"):
        content = json.loads(content)
    elif "multipart" in kind:
        boundary = kind.rpartition("=")[2]
        content = content.replace(boundary.encode(), b"boundary")
        headers = [(k, v) for k, v in headers if k != "content-type"]
    return Sent(request.method, str(request.url), headers, content)
