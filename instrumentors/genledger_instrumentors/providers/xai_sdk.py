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

_WHOLE = XAI_CHAT._replace(accumulate=None)
_OPERATIONS = {
    **dict.fromkeys(("stream", "stream_batch"), XAI_CHAT),
    # What `defer` and `defer_batch` do: they wait until the answer is there.
    **dict.fromkeys(("sample", "sample_batch", "parse", "_defer"), _WHOLE),
    "compact": _WHOLE._replace(limit=()),
}
_MODULES = ("xai_sdk.sync.chat", "xai_sdk.aio.chat")


def body(chat: Any, given: dict[str, Any]) -> Body:
    """Return the conversation that is sent, and what the method adds to it."""
    asked = {**read_request(chat.proto), "n": given.get("n", 1)}
    if "shape" in given:
        asked["response_format"] = {"type": "json_schema"}
    return asked


def endpoint(chat: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a conversation is with."""
    return endpoint_of("x_ai", chat._stub.GetCompletion)


class XaiInstrumentor(Instrumentor):
    """Records the calls of the `xai-sdk` package."""

    library = "xai-sdk"
    distribution = "xai-sdk"
    supports = "xai-sdk >= 1.21, < 2"

    def patches(self) -> Patches:
        """Return the methods of a conversation, what makes their requests and gets their answers, and their tracers."""
        methods = Methods(
            self.library,
            dict.fromkeys(_MODULES, "Chat"),
            _OPERATIONS,
            endpoint,
            body,
            write=keep,
            streamed=lambda asked: True,
            answer=read_completion,
        )
        return [
            *methods.patches(),
            sends(self.library, "xai_sdk.chat", "BaseChat._make_request"),
            sends(self.library, "xai_sdk.chat", "BaseChat._make_compact_request"),
            receives(self.library, "xai_sdk.chat", "Response.__init__"),
            *(replaces_tracer(self.library, module) for module in _MODULES),
        ]
