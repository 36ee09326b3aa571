"""Bedrock's Converse and ConverseStream, by boto3."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from tests.contract.event_stream import event
from tests.contract.row import Row
from tests.contract.server import Reply, json_reply

TEXT = "The capital of France is Paris."
PROMPT = "What is the capital of France?"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
USAGE = {"inputTokens": 1000, "outputTokens": 500, "totalTokens": 1500}

ERRORS = {400: "ValidationException", 429: "ThrottlingException", 500: "InternalServerException"}


def whole() -> Reply:
    """An answer of Converse."""
    message = {"role": "assistant", "content": [{"text": TEXT}]}
    body = {"output": {"message": message}, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 100}}
    return json_reply(body, **{"x-amzn-RequestId": "request-1"})


def events() -> tuple[bytes, ...]:
    """The events of ConverseStream."""
    words = [word if word == "Paris." else f"{word} " for word in TEXT.split()]
    return (
        event("messageStart", {"role": "assistant"}),
        *(event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in words),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 100}}),
    )


def request(max_tokens: int | None) -> dict[str, Any]:
    """A request."""
    given: dict[str, Any] = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": PROMPT}]}]}
    return given if max_tokens is None else {**given, "inferenceConfig": {"maxTokens": max_tokens}}


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call; the answer's date is taken out, which differs from call to call."""
    if stream:
        return client.converse_stream(**request(max_tokens))["stream"]
    answer = client.converse(**request(max_tokens))
    answer["ResponseMetadata"]["HTTPHeaders"].pop("date")
    return answer


def make_client(service: str, url: str, retries: int) -> Any:
    """Make a client of a service."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": retries + 1, "mode": "standard"}, read_timeout=20),
    )


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    return make_client("bedrock-runtime", url, retries)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"message": f"No: {PROMPT}"}, status, **{"x-amzn-ErrorType": ERRORS[status]})


ROW = Row(
    library="bedrock",
    module="boto3",
    client=make,
    call=ask,
    whole=whole(),
    events=events(),
    provider="aws.bedrock",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 3.3e-6 + 500 * 16.5e-6,
    error=error,
    limit=lambda request: request.json["inferenceConfig"]["maxTokens"],
    sent_model=lambda request: unquote(request.path).split("/")[2],
    cheaper="us.anthropic.claude-haiku-4-5-20251001-v1:0",
    asynchronous=False,
    stream_type="application/vnd.amazon.eventstream",
)
