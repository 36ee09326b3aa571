"""Oracle's client of its Generative AI service, 2.153 to 2.x: generated from Oracle's own descriptions.

https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130. Its asynchronous class cannot stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from genledger.engine.operation import Body, Endpoint, Operation
from genledger.instrumentation.adapters.http_response import parse
from genledger.instrumentation.adapters.methods import Find, Methods, receives
from genledger.instrumentation.adapters.retries import attempts
from genledger.instrumentation.adapters.wire import endpoint_at
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patches
from genledger.pricing.getters import field, path

from ..formats import oci_chat, oci_documents
from ..formats.oci_requests import details_of, write_changes

Read = Callable[[Mapping[str, Any]], Body]
Answer = Callable[[Any], Any]

_FORMATS: tuple[tuple[Mapping[str, Operation], Read, Answer], ...] = (
    (
        {"chat": oci_chat.CHAT, "generate_text": oci_chat.GENERATE, "summarize_text": oci_chat.SUMMARIZE},
        oci_chat.read_asked,
        oci_chat.read_result,
    ),
    (
        {"embed_text": oci_documents.EMBEDDINGS, "rerank_text": oci_documents.RERANK},
        oci_documents.read_asked,
        oci_documents.read_result,
    ),
    ({"apply_guardrails": oci_documents.GUARDRAILS}, oci_documents.read_guard, oci_documents.read_result),
)
_CLIENTS = {
    "oci.generative_ai_inference.generative_ai_inference_client": "GenerativeAiInferenceClient",
    "oci.generative_ai_inference.async_generative_ai_inference_client": "AsyncGenerativeAiInferenceClient",
}


def served(operation: Operation) -> Find:
    """Return what finds the operation of a request: an endpoint of a dedicated cluster has one model."""
    fixed = operation._replace(fixed_model=True)

    def find(given: dict[str, Any]) -> Operation:
        return operation if path(details_of(given), "servingMode", "modelId") is not None else fixed

    return find


def endpoint(client: Any, given: dict[str, Any]) -> Endpoint:
    """Return the server that a client talks to, and the key that signs its requests."""
    base = getattr(client, "base_client", None) or client.async_base_client
    return endpoint_at("oci", str(base.endpoint or ""), getattr(base.signer, "api_key", None))


def body(read: Read) -> Callable[[Any, dict[str, Any]], Body]:
    """Return what makes the request from the arguments; the asynchronous client reads what is streamed as a whole."""

    def make(client: Any, given: dict[str, Any]) -> Body:
        asked = read(details_of(given))
        return asked if hasattr(client, "base_client") else {**asked, "stream": None}

    return make


def answer(read: Answer) -> Answer:
    """Return what reads an answer: as it came, where that is known, for older versions drop fields that they lack."""

    def make(result: Any) -> Any:
        if not isinstance(result, bytes):
            return read(field(result, "data"))
        came = parse(result)
        return None if came is None or came.keys() >= {"code", "message"} else read(came)

    return make


def cause_of(error: BaseException) -> BaseException:
    """Return what the client could not do, from its own error around that."""
    return next((inner for inner in error.args if isinstance(inner, BaseException)), error)


def events(result: Any) -> Any:
    """Return the HTTP response whose events the application reads; `None` for a whole answer."""
    return getattr(field(result, "data"), "_event_source", None)


class OCIInstrumentor(Instrumentor):
    """Records the calls of the `oci` package to the Generative AI service."""

    library = "oci"
    distribution = "oci"
    supports = "oci >= 2.153, < 3"

    def patches(self) -> Patches:
        """Return the methods of the clients, and those that each attempt at a request passes through."""
        patches: Patches = [
            receives(self.library, "oci.base_client", "BaseClient.deserialize_response_data"),
            attempts(self.library, "oci.base_client", "BaseClient.call_api"),
            attempts(self.library, "oci.async_base_client", "AsyncBaseClient._do_call_api", optional=True),
        ]
        for operations, read, made in _FORMATS:
            patches += Methods(
                self.library,
                _CLIENTS,
                {name: served(operation) for name, operation in operations.items()},
                endpoint,
                body(read),
                write_changes,
                answer=answer(made),
                received=True,
                events=events,
                cause=cause_of,
            ).patches()
        return patches
