"""xAI's client, over gRPC."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.contract.grpc_server import GrpcServer, protobuf, refusal
from tests.contract.row import Row
from tests.contract.server import Reply

MODEL = "grok-4"
PROMPT = "What is the capital of France?"
TEXT = "The capital of France is Paris."

# The numbers of fields and values: https://github.com/xai-org/xai-proto/tree/main/proto/xai/api/v1
ASSISTANT = 2
STOP = 3
USAGE = {1: 400, 2: 1000, 3: 1500, 6: 100}  # completion, prompt, total, reasoning


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    import xai_sdk

    kind = xai_sdk.AsyncClient if asynchronous else xai_sdk.Client
    return kind(api_key="k", api_host=url, use_insecure_channel=True, timeout=20)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    from xai_sdk.chat import user

    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    chat = client.chat.create(model=MODEL, messages=[user(PROMPT)], **limit)
    return chat.stream() if stream else chat.sample()


def whole(usage: dict[int, Any] | None = None, text: str = TEXT) -> Reply:
    """A whole answer."""
    output = {1: STOP, 3: {1: text, 2: ASSISTANT}}
    return message({1: "completion-1", 2: output, 6: MODEL, 9: USAGE if usage is None else usage})


def message(*messages: dict[int, Any]) -> Reply:
    """An answer of these messages."""
    return Reply(200, "application/grpc", tuple(map(protobuf, messages)))


def chunks() -> tuple[bytes, ...]:
    """A streamed answer; the usage comes with the last chunk."""

    def chunk(text: str, **last: Any) -> bytes:
        end = {3: STOP} if last else {}
        return protobuf({1: "completion-1", 2: {1: {1: text, 2: ASSISTANT}, **end}, 4: MODEL, 6: last.get("usage")})

    words = [chunk(f"{word} " if word != "Paris." else word) for word in TEXT.split()]
    return (*words, chunk("", usage=USAGE))


def sent(request: Any) -> Any:
    """The request as the server got it."""
    from xai_sdk.proto import chat_pb2

    return chat_pb2.GetCompletionsRequest.FromString(request.body)


ROW = Row(
    library="xai-sdk",
    module="xai_sdk",
    client=make,
    call=ask,
    whole=whole(),
    events=chunks(),
    provider="x_ai",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 3e-6 + 500 * 15e-6,
    error=partial(refusal, message=f"No: {PROMPT}"),
    limit=lambda request: sent(request).max_tokens,
    sent_model=lambda request: sent(request).model,
    cheaper="grok-3-mini",
    server=partial(GrpcServer, "GetCompletionChunk"),
    retries=False,  # gRPC tries again inside of the channel, where nobody sees it
)
