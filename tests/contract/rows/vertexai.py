"""Google's client of Vertex AI, over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.contract.grpc_server import GrpcServer, protobuf, refusal
from tests.contract.row import Row
from tests.contract.server import Reply

MODEL = "gemini-2.5-flash"
PROMPT = "What is the capital of France?"
TEXT = "The capital of France is Paris."
RESOURCE = f"projects/p/locations/us-central1/publishers/google/models/{MODEL}"

# The numbers of fields and values:
# https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/prediction_service.proto
STOP = 1
USAGE = {1: 1000, 2: 300, 3: 1500, 14: 200}  # prompt, candidates, total, thoughts


def service(url: str, asynchronous: bool) -> Any:
    """The client that the SDK makes for its models, but to a channel that is not encrypted."""
    import grpc
    from google.cloud.aiplatform_v1.services import prediction_service

    if asynchronous:
        made = prediction_service.PredictionServiceAsyncClient
        return made(transport=made.get_transport_class("grpc_asyncio")(channel=grpc.aio.insecure_channel(url)))
    kind = prediction_service.PredictionServiceClient
    return kind(transport=kind.get_transport_class("grpc")(channel=grpc.insecure_channel(url)))


def begin(**settings: Any) -> None:
    """Set what all models of the SDK have."""
    import vertexai
    from google.auth.credentials import AnonymousCredentials

    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    vertexai.init(project="p", location="us-central1", credentials=credentials, **settings)


def model(url: str, asynchronous: bool, **settings: Any) -> Any:
    """Make a model."""
    begin()
    from vertexai.generative_models import GenerativeModel

    made = GenerativeModel(MODEL, **settings)
    setattr(made, "_prediction_async_client" if asynchronous else "_prediction_client", service(url, asynchronous))
    return made


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make what generates."""
    made = model(url, asynchronous)
    return made.generate_content_async if asynchronous else made.generate_content


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    limit = {} if max_tokens is None else {"max_output_tokens": max_tokens}
    return client(PROMPT, generation_config={"temperature": 0.2, **limit}, stream=stream)


def message(text: str, usage: Mapping[int, Any], reason: int | None = STOP) -> bytes:
    """An answer of one candidate."""
    content = {1: "model", 2: {1: text}}
    return protobuf({2: {2: content, 3: reason}, 4: usage, 11: MODEL, 13: "response-1"})


def whole(text: str = TEXT, usage: Mapping[int, Any] = USAGE, reason: int | None = STOP) -> Reply:
    """A whole answer."""
    return Reply(200, "application/grpc", (message(text, usage, reason),))


def chunks() -> tuple[bytes, ...]:
    """A streamed answer; each chunk counts what was generated so far."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    return (*(message(word, {1: 1000, 3: 1000}, None) for word in words), message("", USAGE))


def sent(request: Any) -> Any:
    """The request as the server got it."""
    from google.cloud.aiplatform_v1.types import GenerateContentRequest

    return GenerateContentRequest.deserialize(request.body)


ROW = Row(
    library="vertexai",
    module="vertexai",
    client=make,
    call=ask,
    whole=whole(),
    events=chunks(),
    provider="gcp.vertex_ai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 0.3e-6 + 500 * 2.5e-6,  # https://cloud.google.com/vertex-ai/generative-ai/pricing, USD per token
    error=partial(refusal, message=f"No: {PROMPT}"),
    limit=lambda request: sent(request).generation_config.max_output_tokens,
    sent_model=lambda request: sent(request).model.rpartition("/")[2],
    cheaper="gemini-2.5-flash-lite",
    operation="generate_content",
    server=partial(GrpcServer, "StreamGenerateContent"),
    retries=False,  # only where a call asks for it, which the SDK does not
)
