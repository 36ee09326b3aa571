"""Bedrock by boto3: every family of InvokeModel, bodies and streams read in every way, failures and retries."""

from __future__ import annotations

import gc
import json
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.event_stream import event, exception
from tests.contract.server import Reply, Server, json_reply, serving

import genledger
from genledger_instrumentors.formats.converse import ConverseEvents
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, attributes_of, instrumented

boto3 = pytest.importorskip("boto3")
from botocore.config import Config  # noqa: E402
from botocore.eventstream import EventStream  # noqa: E402
from botocore.exceptions import (  # noqa: E402
    ClientError,
    EndpointConnectionError,
    EventStreamError,
    ReadTimeoutError,
)
from botocore.response import StreamingBody  # noqa: E402

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_PRICE = (3.3, 16.5)
"""USD per million input and output tokens, as all prices here, by https://aws.amazon.com/bedrock/pricing/."""

NOVA = "amazon.nova-lite-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
HELLO = [{"role": "user", "content": "Hello"}]
HELLO_NOVA = [{"role": "user", "content": [{"text": "Hello"}]}]
ASK_CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 700, "messages": HELLO}
MESSAGE = {
    "id": "msg_bdrk_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1000, "output_tokens": 500},
}
NOVA_ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Hi."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 1000, "outputTokens": 500, "totalTokens": 1500},
}


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


def client_at(url: str, service: str = "bedrock-runtime", **config: Any) -> Any:
    """A client that tries once, unless it is told otherwise."""
    options = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "read_timeout": 20, **config}
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(**options),
    )


@pytest.fixture
def client(server: Server) -> Any:
    """A client."""
    return client_at(server.url)


def counts(into: int, out: int | None = None) -> dict[str, str]:
    """The headers with Bedrock's own counts."""
    found = {"x-amzn-bedrock-input-token-count": str(into)}
    return found if out is None else {**found, "x-amzn-bedrock-output-token-count": str(out)}


def price(into: float, out: float, rates: tuple[float, float]) -> Any:
    """USD, by rates per million."""
    return pytest.approx((into * rates[0] + out * rates[1]) * 1e-6)


def chunks(*documents: Any) -> Reply:
    """A stream of documents."""
    frames = [event("chunk", {"bytes": b64encode(json.dumps(one).encode()).decode(), "p": "ab"}) for one in documents]
    return Reply(200, "application/vnd.amazon.eventstream", tuple(frames))


def metrics(into: int, out: int) -> dict[str, Any]:
    """What Bedrock adds to the last chunk."""
    return {"amazon-bedrock-invocationMetrics": {"inputTokenCount": into, "outputTokenCount": out}}


CLAUDE_STREAM = (
    {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 1000}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there."}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 500}},
    {"type": "message_stop", **metrics(1000, 500)},
)
NOVA_STREAM = (
    {"messageStart": {"role": "assistant"}},
    {"contentBlockDelta": {"delta": {"text": "Hi "}, "contentBlockIndex": 0}},
    {"contentBlockDelta": {"delta": {"text": "there."}, "contentBlockIndex": 0}},
    {"messageStop": {"stopReason": "end_turn"}},
    {"metadata": {"usage": {"inputTokens": 1000, "outputTokens": 500}}, **metrics(1000, 500)},
)
CHAT_STREAM = (
    {"id": "1", "model": "gpt-oss", "choices": [{"index": 0, "delta": {"content": "Hi "}}]},
    {
        "id": "1",
        "choices": [{"index": 0, "delta": {"content": "there."}, "finish_reason": "stop"}],
        **metrics(1000, 500),
    },
)


@pytest.mark.parametrize(
    ("model", "document", "answer", "headers", "name", "usage", "rates"),
    [
        (CLAUDE, ASK_CLAUDE, MESSAGE, counts(1000, 500), "chat", (1000, 500), CLAUDE_PRICE),
        (NOVA, {"messages": HELLO_NOVA}, NOVA_ANSWER, counts(1000, 500), "chat", (1000, 500), (0.06, 0.24)),
        (
            LLAMA,
            {"prompt": "Hello", "max_gen_len": 700},
            {"generation": "Hi.", "prompt_token_count": 1000, "generation_token_count": 500},
            {},
            "text_completion",
            (1000, 500),
            (2.65, 3.5),
        ),
        (
            "openai.gpt-oss-120b-1:0",
            {"messages": HELLO, "max_completion_tokens": 700},
            {"choices": [{"message": {"content": "Hi."}}], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}},
            {},
            "chat",
            (1000, 500),
            (0.15, 0.6),
        ),
        (
            "mistral.mistral-large-2407-v1:0",
            {"prompt": "Hello", "max_tokens": 700},
            {"outputs": [{"text": "Hi.", "stop_reason": "stop"}]},
            counts(1000, 500),
            "text_completion",
            (1000, 500),
            (2.0, 6.0),
        ),
        (
            "amazon.titan-embed-text-v2:0",
            {"inputText": "Hello", "dimensions": 256},
            {"embedding": [0.1], "inputTextTokenCount": 1000},
            {},
            "embeddings",
            (1000, 0),
            (0.02, 0),
        ),
        (
            "cohere.embed-english-v3",
            {"texts": ["Hello"], "input_type": "search_query"},
            {"embeddings": [[0.1]], "texts": ["hello"]},
            counts(1000),
            "embeddings",
            (1000, 0),
            (0.1, 0),
        ),
    ],
    ids=["claude", "nova", "llama", "openai", "mistral", "titan-embeddings", "cohere-embeddings"],
)
def test_a_model_of_each_family_is_one_priced_span(
    server: Server,
    client: Any,
    telemetry: Telemetry,
    model: str,
    document: dict[str, Any],
    answer: dict[str, Any],
    headers: dict[str, str],
    name: str,
    usage: tuple[int, int],
    rates: tuple[float, float],
) -> None:
    server.will(json_reply(answer, **headers))
    assert json.loads(client.invoke_model(modelId=model, body=json.dumps(document))["body"].read()) == answer
    attributes = telemetry.attributes
    assert telemetry.span.name == f"{name} {model}"
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert attributes["gen_ai.usage.input_tokens"] == usage[0]
    assert attributes.get("gen_ai.usage.output_tokens", 0) == usage[1]
    assert attributes["genledger.cost.amount"] == price(*usage, rates)
    assert attributes["genledger.outcome"] == "success"
    if name != "embeddings":
        assert attributes.get("gen_ai.request.max_tokens") == (None if model == NOVA else 700)


@pytest.mark.parametrize(
    ("model", "document", "documents", "rates"),
    [
        (CLAUDE, ASK_CLAUDE, CLAUDE_STREAM, CLAUDE_PRICE),
        (NOVA, {"messages": HELLO_NOVA}, NOVA_STREAM, (0.06, 0.24)),
        (LLAMA, {"prompt": "Hello"}, ({"generation": "Hi"}, {"generation": ".", **metrics(1000, 500)}), (2.65, 3.5)),
        ("openai.gpt-oss-120b-1:0", {"messages": HELLO}, CHAT_STREAM, (0.15, 0.6)),
    ],
    ids=["claude", "nova", "llama", "openai"],
)
def test_a_stream_of_each_family_is_one_priced_span(
    server: Server,
    client: Any,
    telemetry: Telemetry,
    model: str,
    document: dict[str, Any],
    documents: tuple[Any, ...],
    rates: tuple[float, float],
) -> None:
    server.will(chunks(*documents))
    stream = client.invoke_model_with_response_stream(modelId=model, body=json.dumps(document))["body"]
    assert type(stream) is EventStream
    assert [json.loads(one["chunk"]["bytes"]) for one in stream] == list(documents)
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == price(1000, 500, rates)
    assert attributes["genledger.outcome"] == "success"
    assert "genledger.usage.estimated" not in attributes


def test_a_rerank_is_billed_by_its_documents(server: Server, client: Any, telemetry: Telemetry) -> None:
    documents = [f"document {number}" for number in range(101)]
    server.will(json_reply({"results": [{"index": 0, "relevance_score": 0.9}]}))
    body = json.dumps({"query": "q", "documents": documents, "api_version": 2})
    client.invoke_model(modelId="cohere.rerank-v3-5:0", body=body)["body"].read()
    source = {"type": "TEXT", "textDocument": {"text": "document"}}
    arn = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
    client_at(server.url, "bedrock-agent-runtime").rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": "q"}}],
        sources=[{"type": "INLINE", "inlineDocumentSource": source}] * 2,
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}},
        },
    )
    invoked, asked = [attributes_of(span) for span in telemetry.spans]
    assert invoked["gen_ai.operation.name"] == asked["gen_ai.operation.name"] == "rerank"
    assert asked["gen_ai.request.model"] == arn
    assert invoked["genledger.cost.amount"] == pytest.approx(0.004)
    assert asked["genledger.cost.amount"] == pytest.approx(0.002)


READERS: dict[str, Callable[[Any], Any]] = {
    "read": lambda body: body.read(),
    "read in pieces": lambda body: b"".join(iter(lambda: body.read(7), b"")),
    "json": lambda body: json.dumps(json.load(body)).encode(),
    "chunks": lambda body: b"".join(body.iter_chunks(7)),
    "iterated": lambda body: b"".join(body),
    "lines": lambda body: b"".join(body.iter_lines(keepends=True)),
    "readlines": lambda body: b"".join(body.readlines()),
    "raw": lambda body: _within(body, lambda raw: raw.read()),
    "raw stream": lambda body: _within(body, lambda raw: b"".join(raw.stream(7))),
    "into": lambda body: _into(body),
}


def _within(body: Any, read: Callable[[Any], bytes]) -> bytes:
    with body as raw:
        return read(raw)


def _into(body: Any) -> bytes:
    found, buffer = b"", bytearray(7)
    while count := body.readinto(buffer):
        found += buffer[:count]
    return found


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_body_reads_as_it_does_without_genledger_and_settles_once(
    server: Server, client: Any, telemetry: Telemetry, read: Callable[[Any], bytes]
) -> None:
    server.will(json_reply(MESSAGE))
    body = client.invoke_model(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"]
    assert type(body) is StreamingBody
    assert read(body) == json.dumps(MESSAGE).encode()
    attributes = telemetry.attributes
    body.close()
    assert len(telemetry.spans) == 1
    assert attributes["gen_ai.response.id"] == "msg_bdrk_1"
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["genledger.cost.amount"] == price(1000, 500, CLAUDE_PRICE)


@pytest.mark.parametrize("pieces", [0, 1])
@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_a_body_that_is_not_read_to_its_end_costs_what_its_headers_say(
    server: Server, client: Any, telemetry: Telemetry, pieces: int, end: str
) -> None:
    server.will(json_reply(MESSAGE, **counts(1000, 500)))
    body = client.invoke_model(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"]
    for _ in range(pieces):
        body.read(5)
    assert telemetry.spans == ()
    if end == "closed":
        body.close()
    del body
    gc.collect()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    assert attributes["genledger.cost.amount"] == price(1000, 500, CLAUDE_PRICE)
    assert "genledger.usage.estimated" not in attributes


def test_an_unread_body_without_counts_is_an_estimate(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply(MESSAGE))
    client.invoke_model(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"].close()
    attributes = telemetry.attributes
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 700


def test_a_body_that_breaks_off_may_have_been_billed(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(Reply(200, "application/json", (b'{"id": ',), breaks=True))
    with pytest.raises(Exception, match=r"."):
        client.invoke_model(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"].read()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "error"
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["gen_ai.usage.output_tokens"] == 700


def test_a_dropped_stream_settles_without_the_garbage_collector(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(chunks(*CLAUDE_STREAM))
    gc.collect()
    gc.disable()
    try:
        stream = client.invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"]
        for _ in stream:
            break
        del stream
        attributes = telemetry.attributes
    finally:
        gc.enable()
    assert attributes["genledger.outcome"] == "cancelled"
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.usage.estimated"] is True


def test_a_throttled_call_is_rate_limited_with_all_its_attempts(server: Server, telemetry: Telemetry) -> None:
    server.will(json_reply({"message": "Too many."}, 429, **{"x-amzn-ErrorType": "ThrottlingException"}))
    client = client_at(server.url, retries={"total_max_attempts": 2, "mode": "standard"})
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId=NOVA, messages=HELLO_NOVA)
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "rate_limited"
    assert attributes["error.type"] == "botocore.errorfactory.ThrottlingException"
    assert attributes["genledger.attempts"] == 2
    assert attributes["genledger.retry.causes"] == ("429",)
    assert "genledger.cost.amount" not in attributes


def test_the_code_of_an_error_says_what_its_status_does_not(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"message": "Too many."}, 400, **{"x-amzn-ErrorType": "ThrottlingException"}))
    with pytest.raises(ClientError):
        client.converse(modelId=NOVA, messages=HELLO_NOVA)
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"


def test_a_stream_that_is_throttled_raises_and_is_rate_limited(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    begun = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
    frames = (begun, exception("throttlingException", "Too many."))
    server.will(Reply(200, "application/vnd.amazon.eventstream", frames))
    with pytest.raises(EventStreamError, match="throttlingException"):
        list(client.converse_stream(modelId=NOVA, messages=HELLO_NOVA)["stream"])
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "rate_limited"
    assert attributes["error.type"] == "throttlingException"
    assert attributes["genledger.usage.estimated"] is True


def test_a_model_that_takes_too_long_is_a_timeout_that_may_be_billed(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({"message": "Too long."}, 408, **{"x-amzn-ErrorType": "ModelTimeoutException"}))
    with pytest.raises(client.exceptions.ModelTimeoutException):
        client.converse(modelId=NOVA, messages=HELLO_NOVA, inferenceConfig={"maxTokens": 700})
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "timeout"
    assert attributes["gen_ai.usage.output_tokens"] == 700
    assert attributes["genledger.usage.estimated"] is True


def test_every_attempt_that_timed_out_may_be_billed(telemetry: Telemetry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        retries = {"total_max_attempts": 2, "mode": "standard"}
        client = client_at(f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.2, retries=retries)
        with pytest.raises(ReadTimeoutError):
            client.converse(modelId=NOVA, messages=HELLO_NOVA, inferenceConfig={"maxTokens": 700})
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "timeout"
    assert attributes["genledger.attempts"] == 2
    assert attributes["genledger.retry.causes"] == ("timeout",)
    assert attributes["gen_ai.usage.output_tokens"] == 1400
    assert attributes["genledger.usage.estimated"] is True


def test_what_never_left_costs_nothing(telemetry: Telemetry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(EndpointConnectionError):
        client_at(f"http://127.0.0.1:{port}").converse(modelId=NOVA, messages=HELLO_NOVA)
    assert "genledger.cost.amount" not in telemetry.attributes


def test_a_request_that_cannot_be_signed_costs_nothing(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.Session().client("bedrock-runtime", region_name="us-east-1", endpoint_url=server.url)
    with pytest.raises(Exception, match="credentials"):
        client.converse(modelId=NOVA, messages=HELLO_NOVA)
    assert "genledger.cost.amount" not in telemetry.attributes


def test_attempts_of_another_service_in_the_midst_of_a_call_are_not_its_own(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    other = client_at(server.url, "sts", retries={"total_max_attempts": 2, "mode": "standard"})

    def before(**given: Any) -> None:
        with pytest.raises(ClientError):
            other.get_caller_identity()

    client.meta.events.register("before-call.bedrock-runtime.Converse", before)
    failed = Reply(500, "text/xml", (b"<ErrorResponse/>",))
    server.will(failed, failed, json_reply(NOVA_ANSWER))
    client.converse(modelId=NOVA, messages=HELLO_NOVA)
    assert len(server.requests) == 3
    assert "genledger.attempts" not in telemetry.attributes


def test_attempts_that_were_not_seen_are_those_that_the_answer_tells_of(client: Any, telemetry: Telemetry) -> None:
    """What answers in botocore's place, such as a cache or a stub, tells of them in the answer alone."""

    class Answer:
        status_code = 200

    answer = {**NOVA_ANSWER, "ResponseMetadata": {"RetryAttempts": 2}}
    client.meta.events.register("before-call", lambda **given: (Answer(), answer))
    client.converse(modelId=NOVA, messages=HELLO_NOVA)
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.cost.amount"] == price(1000, 500, (0.06, 0.24))


def test_clients_made_before_and_of_other_services(server: Server) -> None:
    """One class is patched for all clients: those of Bedrock are recorded whenever they were made, others never."""
    before, other = client_at(server.url), client_at(server.url, "dynamodb")
    with instrumented(libraries=["bedrock"]) as telemetry:
        server.will(json_reply(MESSAGE))
        before.invoke_model(modelId=CLAUDE, body=json.dumps(ASK_CLAUDE))["body"].read()
        assert telemetry.attributes["genledger.cost.amount"] == price(1000, 500, CLAUDE_PRICE)
        server.will(chunks(*NOVA_STREAM))
        list(before.invoke_model_with_response_stream(modelId=NOVA, body=json.dumps({"messages": HELLO_NOVA}))["body"])
        server.will(json_reply({"TableNames": []}))
        assert other.list_tables()["TableNames"] == []
        assert len(telemetry.spans) == 2


@pytest.mark.parametrize("kind", [str, bytes, bytearray])
@pytest.mark.parametrize(
    ("model", "document", "answer", "cheaper", "limited"),
    [
        (CLAUDE, ASK_CLAUDE, MESSAGE, "us.anthropic.claude-haiku-4-5-20251001-v1:0", {"max_tokens": 50}),
        (
            "amazon.nova-pro-v1:0",
            {"messages": HELLO_NOVA},
            NOVA_ANSWER,
            "amazon.nova-micro-v1:0",
            {"inferenceConfig": {"maxTokens": 50}},
        ),
        (
            LLAMA,
            {"prompt": "Hello", "max_gen_len": 700},
            {"generation": "Hi.", "prompt_token_count": 1000, "generation_token_count": 500},
            "meta.llama3-8b-instruct-v1:0",
            {"max_gen_len": 50},
        ),
        (
            "openai.gpt-oss-120b-1:0",
            {"model": "openai.gpt-oss-120b-1:0", "messages": HELLO},
            {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}},
            "openai.gpt-oss-20b-1:0",
            {"model": "openai.gpt-oss-20b-1:0"},
        ),
    ],
    ids=["claude", "nova", "llama", "openai"],
)
def test_a_degraded_document_is_sent_as_degraded_and_otherwise_as_it_was(
    server: Server,
    tmp_path: Path,
    model: str,
    document: dict[str, Any],
    answer: dict[str, Any],
    cheaper: str,
    limited: dict[str, Any],
    kind: type,
) -> None:
    rules = tmp_path / "rules.toml"
    degrade = f'degrade = {{ model = "{cheaper}", max_output_tokens = 50 }}'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(json_reply(answer))
    text = json.dumps(document)
    with instrumented(libraries=["bedrock"], budgets=str(rules), budget_store="memory:") as telemetry:
        client_at(server.url).invoke_model(modelId=model, body=text if kind is str else kind(text.encode()))[
            "body"
        ].read()
        assert telemetry.attributes["gen_ai.request.model"] == cheaper
        assert telemetry.attributes["genledger.model.requested"] == model
    (request,) = server.requests
    assert unquote(request.path).split("/")[2] == cheaper
    assert request.json == {**document, **limited}


def test_a_profile_of_the_customers_own_is_read_by_what_it_is_asked(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    profile = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    server.will(json_reply(MESSAGE))
    client.invoke_model(modelId=profile, body=json.dumps(ASK_CLAUDE))["body"].read()
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.unpriced"] == "unknown_model"


def test_content_of_converse_is_messages_of_the_conventions(server: Server, client: Any) -> None:
    tool = {"toolUse": {"toolUseId": "t1", "name": "look", "input": {"at": "it"}}}
    begun = {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}}
    deltas = [
        (0, {"reasoningContent": {"text": "Look first."}}),
        (1, {"toolUse": {"input": '{"at": '}}),
        (1, {"toolUse": {"input": '"it"}'}}),
    ]
    streamed = [event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}) for index, delta in deltas]
    frames = (
        streamed[0],
        event("contentBlockStart", begun),
        *streamed[1:],
        event("messageStop", {"stopReason": "tool_use"}),
    )
    server.will(Reply(200, "application/vnd.amazon.eventstream", frames))
    asked = [
        {"role": "user", "content": [{"text": "Hello"}, {"image": {"format": "png", "source": {"bytes": b"png"}}}]},
        {"role": "assistant", "content": [tool]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "seen"}]}}]},
    ]
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        list(client.converse_stream(modelId=NOVA, system=[{"text": "Be brief."}], messages=asked)["stream"])
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
    assert json.loads(attributes["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]
    first, called, answered = json.loads(attributes["gen_ai.input.messages"])
    assert first["parts"][0] == {"type": "text", "content": "Hello"}
    assert first["parts"][1]["mime_type"] == "image/png"
    call = {"type": "tool_call", "id": "t1", "name": "look", "arguments": {"at": "it"}}
    assert called["parts"] == [call]
    assert answered["parts"] == [{"type": "tool_call_response", "id": "t1", "response": [{"text": "seen"}]}]
    (output,) = json.loads(attributes["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "reasoning", "content": "Look first."}, call]
    assert output["finish_reason"] == "tool_call"


def test_a_cited_text_is_text(server: Server, client: Any) -> None:
    cited = {
        "citationsContent": {"content": [{"text": "It is"}, {"text": " Paris."}], "citations": [{"title": "Atlas"}]}
    }
    message = {"role": "assistant", "content": [{"text": "As said: "}, cited]}
    server.will(json_reply({**NOVA_ANSWER, "output": {"message": message}}))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        client.converse(modelId=CLAUDE, messages=HELLO_NOVA)
        (output,) = json.loads(telemetry.attributes["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "text", "content": "As said: "}, {"type": "text", "content": "It is Paris."}]


def test_a_text_that_is_streamed_in_blocks_of_a_word_is_one_part(server: Server, client: Any) -> None:
    words = [
        {"contentBlockDelta": {"delta": {"text": word}, "contentBlockIndex": at}} for at, word in enumerate(("H", "i"))
    ]
    server.will(chunks(NOVA_STREAM[0], *words, *NOVA_STREAM[3:]))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        asked = json.dumps({"messages": HELLO_NOVA})
        list(client.invoke_model_with_response_stream(modelId=NOVA, body=asked)["body"])
        (output,) = json.loads(telemetry.attributes["gen_ai.output.messages"])
    assert output["parts"] == [{"type": "text", "content": "Hi"}]


PROMPTED = {
    "titan": ({"inputText": "Hello"}, {"results": [{"outputText": "Hi.", "completionReason": "LENGTH"}]}),
    "jurassic": (
        {"prompt": "Hello"},
        {"completions": [{"data": {"text": "Hi."}, "finishReason": {"reason": "length", "length": 2}}]},
    ),
    "mistral": ({"prompt": "Hello"}, {"outputs": [{"text": "Hi.", "stop_reason": "length"}]}),
    "command": ({"prompt": "Hello"}, {"generations": [{"text": "Hi.", "finish_reason": "MAX_TOKENS"}]}),
    "command-r": ({"message": "Hello"}, {"text": "Hi.", "finish_reason": "MAX_TOKENS"}),
    "deepseek": ({"prompt": "Hello"}, {"choices": [{"text": "Hi.", "stop_reason": "length"}]}),
    "llama": ({"prompt": "Hello"}, {"generation": "Hi.", "stop_reason": "length"}),
    "claude-2": ({"prompt": "Hello"}, {"completion": "Hi.", "stop_reason": "max_tokens"}),
}
CUT_SHORT = {"role": "assistant", "parts": [{"type": "text", "content": "Hi."}], "finish_reason": "length"}


@pytest.mark.parametrize(("document", "answer"), PROMPTED.values(), ids=PROMPTED)
def test_content_of_a_prompt_is_messages_of_the_conventions(
    server: Server, client: Any, document: dict[str, Any], answer: dict[str, Any]
) -> None:
    server.will(json_reply(answer, **counts(1000, 500)))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        client.invoke_model(modelId="some.model", body=json.dumps(document))["body"].read()
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
    hello = {"role": "user", "parts": [{"type": "text", "content": "Hello"}]}
    assert json.loads(attributes["gen_ai.input.messages"]) == [hello]
    assert json.loads(attributes["gen_ai.output.messages"]) == [CUT_SHORT]
    (reason,) = attributes["gen_ai.response.finish_reasons"]
    assert reason.lower() in ("length", "max_tokens")


STREAMED = {
    "titan": ({"outputText": "H"}, {"outputText": "i.", "completionReason": "LENGTH"}),
    "mistral": ({"outputs": [{"text": "H"}]}, {"outputs": [{"text": "i.", "stop_reason": "length"}]}),
    "command": ({"text": "H"}, {"text": "i."}, {"is_finished": True, "finish_reason": "MAX_TOKENS"}),
    "deepseek": ({"choices": [{"text": "H"}]}, {"choices": [{"text": "i.", "stop_reason": "length"}]}),
    "llama": ({"generation": "H", "stop_reason": None}, {"generation": "i.", "stop_reason": "length"}),
    "claude-2": ({"completion": "H"}, {"completion": "i.", "stop_reason": "max_tokens"}),
}


@pytest.mark.parametrize("documents", STREAMED.values(), ids=STREAMED)
def test_content_of_a_prompt_that_streams_is_put_together(
    server: Server, client: Any, documents: tuple[dict[str, Any], ...]
) -> None:
    server.will(chunks(*documents[:-1], {**documents[-1], **metrics(1000, 500)}))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        asked = json.dumps({"prompt": "Hello"})
        list(client.invoke_model_with_response_stream(modelId="some.model", body=asked)["body"])
        attributes = telemetry.attributes
    assert json.loads(attributes["gen_ai.output.messages"]) == [CUT_SHORT]
    assert attributes["gen_ai.usage.output_tokens"] == 500


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_that_says_its_reasons_as_mistral_does(server: Server, client: Any, stream: bool) -> None:
    said = [{"index": 0, "message": {"role": "assistant", "content": word}} for word in ("H", "i.")]
    whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "stop_reason": "length"}]}
    parts = ({"choices": [said[0]]}, {"choices": [{**said[1], "stop_reason": "length"}], **metrics(1000, 500)})
    server.will(chunks(*parts) if stream else json_reply(whole, **counts(1000, 500)))
    given = {"modelId": "mistral.mistral-large-2407-v1:0", "body": json.dumps({"messages": HELLO})}
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        if stream:
            list(client.invoke_model_with_response_stream(**given)["body"])
        else:
            client.invoke_model(**given)["body"].read()
        attributes = telemetry.attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert json.loads(attributes["gen_ai.output.messages"]) == [CUT_SHORT]
    assert attributes["genledger.cost.amount"] == price(1000, 500, (2.0, 6.0))


ARN = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abc123"
GUARDED = {"topicPolicyUnits": 2, "contentPolicyUnits": 3, "wordPolicyUnits": 3, "contextualGroundingPolicyUnits": 1}


def test_a_guardrail_by_itself_is_billed_by_its_units(server: Server, client: Any) -> None:
    outputs = [{"text": "I cannot say."}]
    server.will(json_reply({"usage": GUARDED, "action": "GUARDRAIL_INTERVENED", "outputs": outputs, "assessments": []}))
    said = [{"text": {"text": "Hello"}}]
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        client.apply_guardrail(guardrailIdentifier="gr1", guardrailVersion="1", source="OUTPUT", content=said)
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "moderation"
    assert attributes["aws.bedrock.guardrail.id"] == "gr1"
    assert attributes["gen_ai.response.finish_reasons"] == ("guardrail_intervened",)
    assert attributes["genledger.usage.guardrail_content"] == 3
    assert attributes["genledger.cost.amount"] == pytest.approx(5 * 0.00015)
    assert "unpriced_unit:guardrail_grounding" in attributes["genledger.cost.notes"]
    assert json.loads(attributes["gen_ai.input.messages"])[0]["role"] == "assistant"
    assert "I cannot say." in attributes["gen_ai.output.messages"]


def test_a_guardrail_is_billed_on_top_of_the_model(server: Server, client: Any, telemetry: Telemetry) -> None:
    assessment = {"invocationMetrics": {"guardrailProcessingLatency": 1, "usage": {"contentPolicyUnits": 1}}}
    guardrail = {"inputAssessment": {"gr1": assessment}, "outputAssessments": {"gr1": [assessment]}}
    server.will(json_reply({**NOVA_ANSWER, "trace": {"guardrail": guardrail}}))
    client.converse(
        modelId=NOVA,
        messages=HELLO_NOVA,
        guardrailConfig={"guardrailIdentifier": "gr1", "guardrailVersion": "1", "trace": "enabled"},
    )
    attributes = telemetry.attributes
    assert attributes["genledger.usage.guardrail_content"] == 2
    assert attributes["genledger.cost.amount"] == pytest.approx((1000 * 0.06 + 500 * 0.24) * 1e-6 + 2 * 0.00015)


def test_a_video_is_billed_by_its_seconds_when_it_is_made(server: Server, client: Any) -> None:
    reel = "amazon.nova-reel-v1:1"
    asked = {"taskType": "TEXT_VIDEO", "videoGenerationConfig": {"durationSeconds": 12}}
    bucket = {"s3OutputDataConfig": {"s3Uri": "s3://videos"}}
    job = {"invocationArn": ARN, "modelArn": "arn:aws:bedrock:us-east-1::foundation-model/" + reel, "submitTime": 0}
    job["outputDataConfig"] = bucket  # type: ignore[assignment]
    server.will(json_reply({"invocationArn": ARN}))
    with instrumented(libraries=["bedrock"]) as telemetry:
        client.start_async_invoke(modelId=reel, modelInput=asked, outputDataConfig=bucket)
        server.will(json_reply({**job, "status": "InProgress"}))
        client.get_async_invoke(invocationArn=ARN)
        server.will(json_reply({**job, "status": "Completed"}))
        client.get_async_invoke(invocationArn=ARN)
        (made,) = [one for span in telemetry.spans if "genledger.cost.amount" in (one := attributes_of(span))]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
    assert made["gen_ai.operation.name"] == "generate_content"
    assert made["gen_ai.request.model"] == reel
    assert made["genledger.usage.second"] == 12
    assert made["genledger.cost.amount"] == pytest.approx(12 * 0.08)


def test_a_video_that_failed_costs_nothing(server: Server, client: Any) -> None:
    bucket = {"s3OutputDataConfig": {"s3Uri": "s3://videos"}}
    failed = {"invocationArn": ARN, "modelArn": "m", "submitTime": 0, "outputDataConfig": bucket, "status": "Failed"}
    server.will(json_reply({"invocationArn": ARN}), json_reply(failed))
    with instrumented(libraries=["bedrock"]) as telemetry:
        client.start_async_invoke(modelId="amazon.nova-reel-v1:1", modelInput={}, outputDataConfig=bucket)
        client.get_async_invoke(invocationArn=ARN)
        (made,) = [one for span in telemetry.spans if (one := attributes_of(span)).get("error.type") == "Failed"]
    assert made["genledger.outcome"] == "error"
    assert not {name for name in made if name.startswith("genledger.cost.")}


@pytest.mark.parametrize(
    ("model", "config", "cost"),
    [
        ("amazon.nova-canvas-v1:0", {"numberOfImages": 2}, 0.08),
        ("amazon.nova-canvas-v1:0", {"numberOfImages": 2, "quality": "premium", "width": 1280, "height": 720}, 0.16),
        ("amazon.titan-image-generator-v2:0", {"numberOfImages": 2, "width": 512, "height": 512}, 0.016),
        ("amazon.titan-image-generator-v2:0", {"numberOfImages": 2}, 0.02),
        ("stability.stable-image-core-v1:1", None, 0.08),
    ],
)
def test_images_are_billed_by_size_and_quality(
    server: Server, client: Any, telemetry: Telemetry, model: str, config: dict[str, Any] | None, cost: float
) -> None:
    server.will(json_reply({"images": ["aGk=", "aGk="], "finish_reasons": [None, None]}))
    document = {"prompt": "A cat"} if config is None else {"taskType": "TEXT_IMAGE", "imageGenerationConfig": config}
    client.invoke_model(modelId=model, body=json.dumps(document))["body"].read()
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "image_generation"
    assert attributes["genledger.cost.amount"] == pytest.approx(cost)


def test_images_that_a_filter_took_say_so(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"images": [None], "finish_reasons": ["Filter reason: prompt"]}))
    body = json.dumps({"prompt": "A cat"})
    client.invoke_model(modelId="us.stability.stable-creative-upscale-v1:0", body=body)["body"].read()
    attributes = telemetry.attributes
    assert attributes["gen_ai.operation.name"] == "image_generation"
    assert attributes["gen_ai.response.finish_reasons"] == ("Filter reason: prompt",)


def test_a_budget_reserves_the_images_that_are_asked_for(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="few"\nusd=0.1\nper="day"\n')
    body = json.dumps({"taskType": "TEXT_IMAGE", "imageGenerationConfig": {"numberOfImages": 3}})
    with (
        instrumented(libraries=["bedrock"], budgets=str(rules), budget_store="memory:"),
        pytest.raises(genledger.BudgetExceeded),
    ):
        client.invoke_model(modelId="amazon.nova-canvas-v1:0", body=body)
    assert server.requests == []


PEGASUS = "us.twelvelabs.pegasus-1-2-v1:0"
VIDEO = {"s3Location": {"uri": "s3://videos/1.mp4", "bucketOwner": "1"}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_watches_videos_is_visible_without_a_price(server: Server, client: Any, stream: bool) -> None:
    told = {"message": "A cat.", "finishReason": "stop"}
    server.will(chunks(told | metrics(0, 50)) if stream else json_reply(told, **counts(0, 50)))
    given = {"modelId": PEGASUS, "body": json.dumps({"inputPrompt": "What is it?", "mediaSource": VIDEO})}
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        if stream:
            list(client.invoke_model_with_response_stream(**given)["body"])
        else:
            client.invoke_model(**given)["body"].read()
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 50
    assert attributes["genledger.cost.unpriced"] == "unknown_model"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "What is it?" in attributes["gen_ai.input.messages"]
    assert "A cat." in attributes["gen_ai.output.messages"]


def test_vectors_of_a_video_are_visible_without_a_price(server: Server, client: Any) -> None:
    bucket = {"s3OutputDataConfig": {"s3Uri": "s3://vectors"}}
    done = {"invocationArn": ARN, "modelArn": "m", "submitTime": 0, "outputDataConfig": bucket, "status": "Completed"}
    asked = {"inputType": "video", "mediaSource": VIDEO}
    server.will(json_reply({"invocationArn": ARN}), json_reply(done))
    with instrumented(libraries=["bedrock"]) as telemetry:
        client.start_async_invoke(
            modelId="twelvelabs.marengo-embed-2-7-v1:0", modelInput=asked, outputDataConfig=bucket
        )
        client.get_async_invoke(invocationArn=ARN)
    (made,) = [one for span in telemetry.spans if "genledger.cost.unpriced" in (one := attributes_of(span))]
    assert made["gen_ai.request.model"] == "twelvelabs.marengo-embed-2-7-v1:0"
    assert "genledger.cost.amount" not in made


@pytest.mark.parametrize("stream", [False, True])
def test_a_latency_that_was_optimized_is_a_tier(
    server: Server, client: Any, telemetry: Telemetry, stream: bool
) -> None:
    served = {"performanceConfig": {"latency": "optimized"}}
    usage = {"usage": NOVA_ANSWER["usage"], "metrics": {"latencyMs": 1}}
    frames = (event("messageStop", {"stopReason": "end_turn"}), event("metadata", {**usage, **served}))
    whole = json_reply({**NOVA_ANSWER, **served})
    server.will(Reply(200, "application/vnd.amazon.eventstream", frames) if stream else whole)
    given = {"modelId": NOVA, "messages": HELLO_NOVA, **served}
    if stream:
        list(client.converse_stream(**given)["stream"])
    else:
        client.converse(**given)
    assert "tier_not_applied:optimized" in telemetry.attributes["genledger.cost.notes"]


def test_a_cache_of_an_hour_and_a_tier_are_priced(server: Server, client: Any, telemetry: Telemetry) -> None:
    cached = {"cacheReadInputTokens": 5000, "cacheWriteInputTokens": 3000}
    details = [{"ttl": "5m", "inputTokens": 1000}, {"ttl": "1h", "inputTokens": 2000}]
    usage = {"inputTokens": 100, "outputTokens": 10, "totalTokens": 8110, **cached, "cacheDetails": details}
    server.will(json_reply({**NOVA_ANSWER, "usage": usage, "serviceTier": {"type": "flex"}}))
    client.converse(modelId=CLAUDE, messages=HELLO_NOVA, serviceTier={"type": "flex"})
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 8100
    assert attributes["gen_ai.usage.cache_write.input_tokens"] == 3000
    expected = (100 * 3.3 + 5000 * 0.33 + 1000 * 4.125 + 2000 * 6.6 + 10 * 16.5) * 1e-6
    assert attributes["genledger.cost.amount"] == pytest.approx(expected * 0.5)


NAMES = [
    *("contentBlockDelta", "contentBlockStart", "contentBlockIndex", "messageStop", "metadata", "delta", "start"),
    *("text", "toolUse", "input", "reasoningContent", "stopReason", "usage"),
]
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(JSON, max_size=6), st.booleans())
def test_no_event_is_too_strange_to_be_passed_over(events: list[Any], keep: bool) -> None:
    accumulator = ConverseEvents({}, keep)
    accumulator.fold(events)
    json.dumps(accumulator.response())
    assert accumulator.text_length() >= 0
