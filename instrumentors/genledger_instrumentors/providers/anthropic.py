"""Anthropic's client, 0.40 to 2.x: direct, and as a client of Bedrock, Vertex and Foundry.

Client: https://github.com/anthropics/anthropic-sdk-python. API: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

import re
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import NonRecordingSpan

from genledger.engine import internal_errors
from genledger.engine.call import CALL_KEY, Call
from genledger.engine.operation import Operation
from genledger.instrumentation.adapters.stainless import ClientSpec, StainlessClient
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats import anthropic_batches as batches
from ..formats.anthropic_messages import COUNT_TOKENS, MESSAGES
from . import anthropic_helpers as helpers

_PATHS = {"/v1/messages": MESSAGES, "/v1/messages/count_tokens": COUNT_TOKENS}
_CLOUD = re.compile(r"Bedrock|Vertex|Foundry")


def operation_of(method: str, path: str) -> Operation | None:
    """The operation of an endpoint; the beta endpoints differ in their query only."""
    messages = _PATHS.get(path.partition("?")[0]) if method == "post" else None
    return messages or batches.operation_of(method, path)


def provider_of(client: Any, host: str) -> str:
    """The platform that serves the model, which is whom the customer pays."""
    cloud = _CLOUD.search(type(client).__name__)
    if cloud is not None:
        return {"Bedrock": "aws.bedrock", "Vertex": "gcp.vertex_ai", "Foundry": "azure.ai.inference"}[cloud.group()]
    return "anthropic"


def lend_span(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Give the client's own telemetry the context of our span instead of a span of its own.

    From 1.14 on the client makes a span with usage for each call. Two such spans for one call would count its
    tokens twice. Ours goes out on the wire as the parent, as the client's would have.
    """
    try:
        call = get_current().get(CALL_KEY)
        if isinstance(call, Call) and not call.settled:
            return NonRecordingSpan(call.span.get_span_context())
    except Exception as error:
        internal_errors.report("lending a span", error)
    return wrapped(*args, **kwargs)


CLIENT = ClientSpec(
    name="anthropic",
    module="anthropic._base_client",
    operation=operation_of,
    provider=provider_of,
    clients=("anthropic._client", "Anthropic", "AsyncAnthropic"),
)


class AnthropicInstrumentor(Instrumentor):
    """Records the calls of the `anthropic` package."""

    library = "anthropic"
    distribution = "anthropic"
    supports = "anthropic >= 0.40, < 3"

    def patches(self) -> Patches:
        """The one method that every request passes through, where the client would start its own span, and helpers."""
        own_span = Patch(CLIENT.module, "start_api_call_span", lend_span, optional=True)
        return [*StainlessClient(CLIENT).patches(), own_span, *helpers.patches()]
