"""Streamed transcripts in AssemblyAI's client: its third API of them, the only one that still answers."""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Body, Endpoint
from genledger.instrumentation.adapters.sockets import SessionSockets
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.pricing.getters import label

from ..formats.assemblyai_live import LIVE_TRANSCRIPT, Streaming


def body(instance: object, given: dict[str, Any]) -> Body:
    """Return what is asked of a streamed transcript."""
    params = given["params"]
    fields = getattr(params, "model_dump", params.dict)  # of either generation of pydantic
    return {**fields(exclude_none=True), "model": label(params, "speech_model")}


def endpoint(client: Any) -> Endpoint:
    """Return the server that a streaming client connects to."""
    options = client._options
    host = str(options.api_host)
    return endpoint_at("assemblyai", host if "://" in host else f"wss://{host}", options.api_key)


STREAMS = SessionSockets(
    library="assemblyai",
    classes={
        "assemblyai.streaming.v3.client": ("RealTimeTranscriber", "StreamingClient"),
        "assemblyai.streaming.v3.async_client": ("AsyncRealTimeTranscriber", "AsyncStreamingClient"),
    },
    opens="connect",
    operation=LIVE_TRANSCRIPT,
    events=Streaming,
    endpoint=endpoint,
    body=body,
    socket="_websocket",
    connect=("assemblyai.streaming.v3.client", "websocket_connect"),  # whose thread reads at once
)
