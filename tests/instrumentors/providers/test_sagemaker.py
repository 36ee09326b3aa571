"""SageMaker's endpoints by boto3: the formats of their containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.rows.bedrock_converse import make_client
from tests.contract.rows.sagemaker import ROW, part
from tests.contract.server import Reply, Server, json_reply, serving

from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

pytest.importorskip("boto3")


@pytest.fixture
def server() -> Iterator[Server]:
    """SageMaker's end."""
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Any:
    """A client."""
    return make_client("sagemaker-runtime", server.url, 0)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Genledger on SageMaker's clients with content, checked in the end."""
    with instrumented(libraries=["sagemaker"], capture_content="span", **ROW.options) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def ask(client: Any, document: Any, endpoint: str = "llama-endpoint", *, stream: bool = False, **more: Any) -> Any:
    """Ask an endpoint, and read all of what it answers."""
    given = {"EndpointName": endpoint, "ContentType": "application/json", "Body": json.dumps(document), **more}
    if stream:
        return list(client.invoke_endpoint_with_response_stream(**given)["Body"])
    return json.loads(client.invoke_endpoint(**given)["Body"].read())


PROMPT = {"inputs": "What is it?", "parameters": {"max_new_tokens": 700, "temperature": 0.5}}


def test_a_text_without_counts_is_priced_only_by_the_request(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply([{"generated_text": "It is."}]))
    assert ask(client, PROMPT) == [{"generated_text": "It is."}]
    attributes = telemetry.attributes
    assert telemetry.span.name == "text_completion llama-endpoint"
    assert attributes["gen_ai.provider.name"] == "aws.sagemaker"
    assert attributes["gen_ai.request.max_tokens"] == 700
    assert attributes["genledger.usage.request"] == 1
    assert attributes["genledger.cost.unpriced"] == "no_rate"
    assert "gen_ai.usage.output_tokens" not in attributes
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "It is."}]


def test_an_endpoint_without_a_price_is_unpriced(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply([{"generated_text": "It is."}]))
    ask(client, PROMPT, "another-endpoint")
    assert telemetry.attributes["genledger.cost.unpriced"] == "unknown_provider"


def test_what_is_answered_into_a_bucket_is_one_request_without_counts(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(
        Reply(202, "application/json", (b'{"InferenceId": "i-1"}',), {"X-Amzn-SageMaker-OutputLocation": "s3://o"})
    )
    answer = client.invoke_endpoint_async(EndpointName="llama-endpoint", InputLocation="s3://questions/1.json")
    assert answer["OutputLocation"] == "s3://o"
    attributes = telemetry.attributes
    assert telemetry.span.name == "generate_content llama-endpoint"
    assert attributes["gen_ai.provider.name"] == "aws.sagemaker"
    assert attributes["gen_ai.response.id"] == "i-1"
    assert attributes["genledger.usage.request"] == 1
    assert attributes["genledger.cost.unpriced"] == "no_rate"


def test_a_text_with_counts_is_priced(server: Server, client: Any, telemetry: Telemetry) -> None:
    details = {"finish_reason": "length", "generated_tokens": 50, "prefill": [{"id": 1}] * 10}
    server.will(json_reply([{"generated_text": "It is.", "details": details}]))
    ask(client, PROMPT)
    attributes = telemetry.attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert attributes["gen_ai.usage.input_tokens"] == 10
    assert attributes["gen_ai.usage.output_tokens"] == 50
    assert attributes["genledger.cost.amount"] == pytest.approx((10 + 50 * 2) * 1e-6)


@pytest.mark.parametrize("mark", [b"data:", b""], ids=["events", "lines"])
@pytest.mark.parametrize("end", [b"\n\n", b""], ids=["ended", "not ended"])
def test_a_stream_is_read_wherever_it_is_cut(
    server: Server, client: Any, telemetry: Telemetry, mark: bytes, end: bytes
) -> None:
    details = {"finish_reason": "eos_token", "generated_tokens": 50, "input_length": 10}
    tokens = [
        {"token": {"text": "It"}, "generated_text": None, "details": None},
        {"token": {"text": " is."}, "generated_text": None, "details": None},
        {"token": {"text": "</s>", "special": True}, "generated_text": "It is.", "details": details},
    ]
    body = b"\n\n".join(mark + json.dumps(token).encode() for token in tokens) + end
    pieces = [part(body[start : start + 30]) for start in range(0, len(body), 30)]
    server.will(Reply(200, "application/vnd.amazon.eventstream", tuple(pieces)))
    assert b"".join(one["PayloadPart"]["Bytes"] for one in ask(client, PROMPT, stream=True)) == body
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 50
    assert attributes["genledger.cost.amount"] == pytest.approx((10 + 50 * 2) * 1e-6)
    assert attributes["gen_ai.request.stream"] is True
    assert json.loads(attributes["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "It is."}]


def test_the_model_of_an_endpoint_of_several_is_the_one_it_is_asked_for(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(json_reply({"generated_text": "It is."}))
    ask(client, PROMPT, InferenceComponentName="llama-component")
    assert telemetry.attributes["gen_ai.request.model"] == "llama-component"


def test_an_endpoint_that_embeds_makes_embeddings(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply([[0.1, 0.2]]))
    assert ask(client, {"inputs": ["It is."]}, "bge-embedding") == [[0.1, 0.2]]
    assert telemetry.attributes["gen_ai.operation.name"] == "embeddings"


@pytest.mark.parametrize("body", ["1,2,3", json.dumps({"instances": [[1, 2]]})])
def test_what_asks_for_no_text_is_not_recorded(server: Server, client: Any, telemetry: Telemetry, body: str) -> None:
    server.will(json_reply({"predictions": [0.5]}))
    answer = client.invoke_endpoint(EndpointName="fraud", ContentType="text/csv", Body=body)
    assert json.loads(answer["Body"].read()) == {"predictions": [0.5]}
    assert telemetry.spans == ()


def test_a_retry_of_one_library_is_counted_once_beside_the_other(server: Server) -> None:
    failed = json_reply({"message": "No."}, 500, **{"x-amzn-ErrorType": "InternalFailure"})
    server.will(failed, json_reply({"generated_text": "It is."}))
    with instrumented(libraries=["bedrock", "sagemaker"]) as telemetry:
        ask(make_client("sagemaker-runtime", server.url, 1), PROMPT)
        assert telemetry.attributes["genledger.attempts"] == 2
        assert telemetry.attributes["genledger.retry.causes"] == ("500",)
