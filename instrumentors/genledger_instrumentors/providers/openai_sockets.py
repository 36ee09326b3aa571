"""The sockets of OpenAI's client: realtime conversations, and responses.

https://platform.openai.com/docs/guides/realtime, https://developers.openai.com/api/docs/guides/websocket-mode
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from genledger.engine.operation import Endpoint
from genledger.instrumentation.adapters.conversations import Conversations
from genledger.instrumentation.adapters.sockets import StainlessSockets
from genledger.instrumentation.patching import Patches

from ..formats import openai_realtime, openai_responses_socket

_PLACES = (
    (
        Conversations(
            library="openai",
            operation=openai_realtime.REALTIME,
            accumulate=openai_realtime.RealtimeEvents,
            hears=openai_realtime.hears,
            asks=openai_realtime.asks,
            aside=openai_realtime.SPEECH_TO_TEXT,
            aside_body=openai_realtime.transcription,
        ),
        ("openai.resources.realtime.realtime", "openai.resources.beta.realtime.realtime"),
        "RealtimeConnection",
    ),
    (
        Conversations(
            library="openai",
            operation=openai_responses_socket.SOCKET_RESPONSES,
            accumulate=openai_responses_socket.SocketEvents,
            hears=openai_responses_socket.hears,
            asks=openai_responses_socket.asks,
        ),
        ("openai.resources.responses.responses", "openai.resources.beta.responses.responses"),
        "ResponsesConnection",
    ),
)
"""How each kind of connection is read, the modules that it is in, and its class."""


def socket_patches(endpoint: Callable[[Any], Endpoint]) -> Patches:
    """Return what to patch, and with what.

    Args:
        endpoint: Returns the server and provider that a client is connected to.
    """
    kinds = (StainlessSockets(kind, modules, connection, endpoint) for kind, modules, connection in _PLACES)
    return [patch for kind in kinds for patch in kind.patches()]
