"""Bedrock by aiobotocore, which aioboto3 builds on: bodies and streams read in every way, failures and retries."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from tests.contract.event_stream import event, exception
from tests.contract.rows.sagemaker import ROW, part
from tests.contract.server import Reply, Server, json_reply, serving
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

from genledger_semconv.checker import assert_clean

aiobotocore = pytest.importorskip("aiobotocore")
from aiobotocore.config import AioConfig  # noqa: E402
from aiobotocore.response import StreamingBody  # noqa: E402
from aiobotocore.session import get_session  # noqa: E402
from botocore.exceptions import EventStreamError  # noqa: E402

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
COST = (1000 * 3.3 + 500 * 16.5) * 1e-6
"""USD of 1000 input and 500 output tokens, by https://aws.amazon.com/bedrock/pricing/."""

ASK = {
    "modelId": MODEL,
    "body": json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 700,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    ),
}
CONVERSE = {"modelId": MODEL, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1000, "output_tokens": 500},
}
STREAM = (
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi "}}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "there."}}),
    event("messageStop", {"stopReason": "end_turn"}),
    event("metadata", {"usage": {"inputTokens": 1000, "outputTokens": 500, "totalTokens": 1500}}),
)
EVENTS = "application/vnd.amazon.eventstream"


def backends() -> list[str]:
    """The HTTP libraries that this version can use and that are installed."""
    newer = hasattr(aiobotocore.response, "AioHttpxStreamingBody") and find_spec("httpx") is not None
    return ["aiohttp", "httpx"] if newer else ["aiohttp"]


@pytest.fixture
def server() -> Iterator[Server]:
    """Bedrock's end."""
    with serving() as server:
        yield server


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Genledger on AWS's clients, checked in the end."""
    with instrumented(libraries=["bedrock"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def client_at(url: str, backend: str = "aiohttp", attempts: int = 1, service: str = "bedrock-runtime") -> Any:
    """What a client is entered by."""
    options: dict[str, Any] = {"retries": {"total_max_attempts": attempts, "mode": "standard"}, "read_timeout": 20}
    if backend == "httpx":
        from aiobotocore.httpxsession import HttpxSession

        options["http_session_cls"] = HttpxSession
    return get_session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=AioConfig(**options),
    )


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Any]:
    """A client of the default HTTP library."""
    async with client_at(server.url) as client:
        yield client


async def _joined(pieces: Any) -> bytes:
    return b"".join([piece async for piece in pieces])


async def _in_pieces(body: Any) -> bytes:
    found = b""
    while piece := await body.read(7):
        found += piece
    return found


async def _within(body: Any) -> bytes:
    async with body as inner:
        return await inner.read()


READERS: dict[str, Callable[[Any], Awaitable[bytes]]] = {
    "read": lambda body: body.read(),
    "read in pieces": _in_pieces,
    "chunks": lambda body: _joined(body.iter_chunks(7)),
    "iterated": _joined,
    "lines": lambda body: _joined(body.iter_lines(keepends=True)),
    "within": _within,
}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
async def test_a_body_reads_as_it_does_without_genledger_and_settles_once(
    server: Server, telemetry: Telemetry, read: Callable[[Any], Awaitable[bytes]], backend: str
) -> None:
    server.will(json_reply(MESSAGE))
    async with client_at(server.url, backend) as client:
        body = (await client.invoke_model(**ASK))["body"]
        assert backend == "httpx" or type(body) is StreamingBody
        assert await read(body) == json.dumps(MESSAGE).encode()
    attributes = telemetry.attributes
    assert len(telemetry.spans) == 1
    assert attributes["gen_ai.response.id"] == "msg_bdrk_1"
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)


COUNTS = {"x-amzn-bedrock-input-token-count": "1000", "x-amzn-bedrock-output-token-count": "500"}


@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_a_body_that_is_not_read_to_its_end_costs_what_its_headers_say(
    server: Server, client: Any, telemetry: Telemetry, end: str
) -> None:
    server.will(json_reply(MESSAGE, **COUNTS))
    body = (await client.invoke_model(**ASK))["body"]
    await body.read(5)
    assert telemetry.spans == ()
    if end == "closed":
        body.close()
    else:
        del body
        for _ in range(100):  # the loop may hold it for a few turns
            gc.collect()
            await asyncio.sleep(0)
            if telemetry.spans:
                break
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.cost.amount"] == pytest.approx(COST)
    assert "genledger.usage.estimated" not in attributes


async def test_a_body_that_breaks_off_may_have_been_billed(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/json", (b'{"id": ',), breaks=True))
    with pytest.raises(Exception, match=r"."):
        await (await client.invoke_model(**ASK))["body"].read()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 700


async def test_a_dropped_stream_settles_without_the_garbage_collector(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(Reply(200, EVENTS, STREAM))
    gc.collect()
    gc.disable()
    try:
        stream = (await client.converse_stream(**CONVERSE))["stream"]
        reading = aiter(stream)
        await anext(reading)
        await reading.aclose()
        assert telemetry.spans == ()
        del reading, stream
        attributes = telemetry.attributes
    finally:
        gc.enable()
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["genledger.usage.estimated"] is True


async def test_a_stream_can_be_read_on(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, EVENTS, STREAM))
    stream = (await client.converse_stream(**CONVERSE))["stream"]
    async for first in stream:
        assert first == {"messageStart": {"role": "assistant"}}
        break
    assert len([one async for one in stream]) == len(STREAM) - 1
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_stream_that_is_throttled_raises_and_is_rate_limited(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(Reply(200, EVENTS, (STREAM[1], exception("throttlingException", "Too many."))))
    with pytest.raises(EventStreamError, match="throttlingException"):
        [one async for one in (await client.converse_stream(**CONVERSE))["stream"]]
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "rate_limited"
    assert attributes["error.type"] == "throttlingException"


async def test_a_throttled_call_is_rate_limited_with_all_its_attempts(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"message": "Too many."}, 429, **{"x-amzn-ErrorType": "ThrottlingException"}))
    async with client_at(server.url, attempts=2) as client:
        with pytest.raises(client.exceptions.ThrottlingException):
            await client.converse(**CONVERSE)
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "rate_limited"
    assert attributes["genledger.attempts"] == 2
    assert attributes["genledger.retry.causes"] == ("429",)
    assert "genledger.cost.amount" not in attributes


async def test_a_client_made_before_is_recorded(server: Server) -> None:
    async with client_at(server.url) as client:
        server.will(Reply(200, EVENTS, STREAM))
        with instrumented(libraries=["bedrock"]) as telemetry:
            assert len([one async for one in (await client.converse_stream(**CONVERSE))["stream"]]) == len(STREAM)
            assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


async def test_a_client_of_aioboto3_is_recorded(server: Server, telemetry: Telemetry) -> None:
    aioboto3 = pytest.importorskip("aioboto3")
    message = {"role": "assistant", "content": [{"text": "Hi."}]}
    usage = {"inputTokens": 1000, "outputTokens": 500}
    server.will(json_reply({"output": {"message": message}, "stopReason": "end_turn", "usage": usage}))
    session = aioboto3.Session(aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    async with session.client("bedrock-runtime", endpoint_url=server.url) as client:
        await client.converse(**CONVERSE)
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(COST)


CHUNK = b'data: {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}\n\n'


async def test_an_agent_and_an_endpoint_are_recorded_too(server: Server) -> None:
    usage = {"inputTokens": 1000, "outputTokens": 500}
    asked = {"modelInvocationInput": {"traceId": "1", "foundationModel": MODEL}}
    told = {"modelInvocationOutput": {"traceId": "1", "metadata": {"usage": usage}}}
    traced = [event("trace", {"trace": {"orchestrationTrace": step}}) for step in (asked, told)]
    server.will(
        Reply(200, EVENTS, (*traced, event("chunk", {"bytes": "SGkh"}))),
        Reply(200, EVENTS, (part(CHUNK[:20]), part(CHUNK[20:]))),
    )
    with instrumented(libraries=["bedrock", "sagemaker"], **ROW.options) as telemetry:
        async with client_at(server.url, service="bedrock-agent-runtime") as client:
            answer = await client.invoke_agent(
                agentId="AGENT12345", agentAliasId="ALIAS12345", sessionId="s-1", inputText="Hello", enableTrace=True
            )
            assert len([one async for one in answer["completion"]]) == 3
        async with client_at(server.url, service="sagemaker-runtime") as client:
            body = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "stream": True})
            answer = await client.invoke_endpoint_with_response_stream(EndpointName="llama-endpoint", Body=body)
            assert len([one async for one in answer["Body"]]) == 2
        agent, endpoint = map(attributes_of, telemetry.spans)
        assert not telemetry.complaints.other
    assert agent["genledger.cost.amount"] == pytest.approx(COST)
    assert endpoint["genledger.cost.amount"] == pytest.approx((1000 + 500 * 2) * 1e-6)
