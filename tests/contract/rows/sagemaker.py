"""SageMaker's endpoints by boto3: a container that speaks OpenAI's chat format, and streams it in any pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.event_stream import frame
from tests.contract.row import Row
from tests.contract.rows.bedrock_converse import make_client
from tests.contract.rows.openai_chat import PROMPT, USAGE, chunks, whole
from tests.contract.server import Reply, json_reply

MODEL = "llama-endpoint"
SERVED = "meta-llama/Llama-3.3-70B-Instruct"
ERRORS = {400: "ValidationError", 429: "ThrottlingException", 500: "InternalFailure"}


def part(piece: bytes) -> bytes:
    """A piece of what the container streams."""
    headers = {":event-type": "PayloadPart", ":content-type": "application/octet-stream", ":message-type": "event"}
    return frame(headers, piece)


def parts() -> tuple[bytes, ...]:
    """The chunks, each cut in the middle of its line."""
    found: list[bytes] = []
    for chunk in chunks(SERVED, usage=USAGE):
        found += (part(chunk[:20]), part(chunk[20:]))
    return tuple(found)


def ask(client: Any, *, stream: bool, max_tokens: int | None = None) -> Any:
    """Make the call."""
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    document = {"messages": [{"role": "user", "content": PROMPT}], "stream": stream, **limit}
    given = {"EndpointName": MODEL, "ContentType": "application/json", "Body": json.dumps(document)}
    if stream:
        return client.invoke_endpoint_with_response_stream(**given)["Body"]
    return client.invoke_endpoint(**given)["Body"].read()


def make(url: str, asynchronous: bool, retries: int) -> Any:
    """Make a client."""
    return make_client("sagemaker-runtime", url, retries)


def error(status: int) -> Reply:
    """An error answer."""
    return json_reply({"message": f"No: {PROMPT}"}, status, **{"x-amzn-ErrorType": ERRORS[status]})


ROW = Row(
    library="sagemaker",
    module="boto3",
    client=make,
    call=ask,
    whole=whole(SERVED),
    events=parts(),
    provider="aws.sagemaker",
    model=MODEL,
    usage=(1000, 500),
    cost=1000 * 1e-6 + 500 * 2e-6,
    error=error,
    asynchronous=False,
    stream_type="application/vnd.amazon.eventstream",
    options={"prices": str(Path(__file__).with_name("sagemaker_prices.toml"))},
)
