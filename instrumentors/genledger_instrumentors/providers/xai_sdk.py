"""xAI's client, over gRPC. https://github.com/xai-org/xai-sdk-python

It makes a span of its own for each call, unless `XAI_SDK_DISABLE_TRACING` is set: ours takes its place.
"""

from __future__ import annotations

from typing import Any

from genledger.engine.operation import Body, Endpoint
from genledger.instrumentation.adapters.grpc import endpoint_of, keep, sends
from genledger.instrumentation.adapters.methods import Methods, receives
from genledger.instrumentation.adapters.own_spans import replaces_tracer
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches

from ..formats.xai_chat import XAI_CHAT, read_completion, read_request
from ..formats.xai_media import IMAGES, VIDEOS, read_images, read_video

_WHOLE = XAI_CHAT._replace(accumulate=None)
_OPERATIONS = {
    **dict.fromkeys(("stream", "stream_batch"), XAI_CHAT),
    # What `defer` and `defer_batch` do: they wait until the answer is there.
    **dict.fromkeys(("sample", "sample_batch", "parse", "_defer"), _WHOLE),
    "compact": _WHOLE._replace(limit=()),
}
_CHATS, _IMAGES, _VIDEOS = ((f"xai_sdk.sync.{name}", f"xai_sdk.aio.{name}") for name in ("chat", "image", "video"))


def body(chat: Any, given: dict[str, Any]) -> Body:
    """Return the conversation that is sent, and what the method adds to it."""
    asked = {**read_request(chat.proto), "n": given.get("n", 1)}
    if "shape" in given:
        asked["response_format"] = {"type": "json_schema"}
    return asked


def endpoint(chat: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a conversation is with."""
    return endpoint_of("x_ai", chat._stub.GetCompletion)


def media_body(client: Any, given: dict[str, Any]) -> Body:
    """Return what an image or a video is asked for by, or the job that is asked about."""
    job = given.get("request_id")
    return {"path": f"/videos/{job}"} if job is not None else {k: v for k, v in given.items() if v is not None}


def media_endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that makes images or videos."""
    stub = client._stub
    return endpoint_of("x_ai", stub.GenerateImage if hasattr(stub, "GenerateImage") else stub.GenerateVideo)


class XaiInstrumentor(Instrumentor):
    """Records the calls of the `xai-sdk` package."""

    library = "xai-sdk"
    distribution = "xai-sdk"
    supports = "xai-sdk >= 1.21, < 2"

    def patches(self) -> Patches:
        """Return the methods of a conversation, what makes their requests and gets their answers, and their tracers."""
        methods = Methods(
            self.library,
            dict.fromkeys(_CHATS, "Chat"),
            _OPERATIONS,
            endpoint,
            body,
            write=keep,
            streamed=lambda asked: True,
            answer=read_completion,
        )
        return [
            *methods.patches(),
            *Methods(
                *(self.library, dict.fromkeys(_IMAGES, "Client"), IMAGES),
                *(media_endpoint, media_body),
                streamed=lambda asked: False,
                answer=read_images,
            ).patches(),
            *Methods(
                *(self.library, dict.fromkeys(_VIDEOS, "Client"), VIDEOS),
                *(media_endpoint, media_body),
                streamed=lambda asked: False,
                answer=read_video,
            ).patches(),
            sends(self.library, "xai_sdk.chat", "BaseChat._make_request"),
            sends(self.library, "xai_sdk.chat", "BaseChat._make_compact_request"),
            receives(self.library, "xai_sdk.chat", "Response.__init__"),
            *(replaces_tracer(self.library, module) for module in (*_CHATS, *_IMAGES, *_VIDEOS)),
        ]
