"""Oracle's client: what its formats, its ways of serving a model and its retries come to, over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.rows.oci import MODEL, PRICES, PROMPT, TEXT, USAGE, config, error, events, whole
from tests.contract.server import Reply, Server, json_reply, sse

from genledger.budgets import BudgetExceeded
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

oci = pytest.importorskip("oci")
inference = pytest.importorskip("oci.generative_ai_inference")
models = inference.models

COMMAND = "cohere.command-a-03-2025"
CHARACTERS = len(PROMPT) + len(TEXT)
NEW = hasattr(models, "CohereChatRequestV2")
needs_new = pytest.mark.skipif(not NEW, reason="this version lacks it")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["oci"], prices=PRICES) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def capturing() -> Iterator[Telemetry]:
    with instrumented(libraries=["oci"], prices=PRICES, capture_content="span") as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.complaints.other


def make(url: str, **given: Any) -> Any:
    """Make a client that sends a request once, and has no circuit breaker."""
    once = {
        "retry_strategy": oci.retry.NoneRetryStrategy(),
        "circuit_breaker_strategy": oci.circuit_breaker.NoCircuitBreakerStrategy(),
    }
    return inference.GenerativeAiInferenceClient(config(), service_endpoint=url, **{"timeout": 20, **once, **given})


def asked(request: Any, model: str = MODEL) -> Any:
    """Make the details of a chat on demand."""
    mode = models.OnDemandServingMode(model_id=model)
    return models.ChatDetails(compartment_id="c", serving_mode=mode, chat_request=request)


def generic(**given: Any) -> Any:
    """Make a chat in Oracle's own format."""
    message = models.UserMessage(content=[models.TextContent(text=PROMPT)])
    return models.GenericChatRequest(messages=[message], **given)


def answered(model: str, **answer: Any) -> Reply:
    """An answer to a chat."""
    return json_reply({"modelId": model, "modelVersion": "1", "chatResponse": answer})


def test_cohere_s_format_is_priced_by_its_characters(server: Server, capturing: Telemetry) -> None:
    server.will(answered(COMMAND, apiFormat="COHERE", text=TEXT, finishReason="COMPLETE", usage=USAGE))
    tool = models.CohereTool(name="search", description="Find it.")
    call = models.CohereToolCall(name="search", parameters={"theQuery": "France"})
    request = models.CohereChatRequest(
        message=PROMPT,
        preamble_override="Be brief.",
        chat_history=[models.CohereUserMessage(message="Hi"), models.CohereChatBotMessage(message="Hello")],
        tools=[tool],
        tool_results=[models.CohereToolResult(call=call, outputs=[{"theAnswer": "Paris"}])],
        max_tokens=100,
        stop_sequences=["END"],
    )
    make(server.url).chat(asked(request, COMMAND))
    attributes = capturing.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    characters = CHARACTERS + len("Be brief.") + len("Hi") + len("Hello")
    assert attributes["genledger.usage.character"] == characters
    assert attributes["genledger.cost.amount"] == pytest.approx(characters * 1e-6)
    assert attributes["gen_ai.request.stop_sequences"] == ("END",)
    assert attributes["gen_ai.response.finish_reasons"] == ("COMPLETE",)
    said = json.loads(str(attributes["gen_ai.input.messages"]))
    assert [message["role"] for message in said] == ["system", "user", "assistant", "tool", "user"]
    assert said[3]["parts"][0]["response"] == [{"theAnswer": "Paris"}]
    (made,) = json.loads(str(attributes["gen_ai.output.messages"]))
    assert made == {"role": "assistant", "parts": [{"type": "text", "content": TEXT}], "finish_reason": "stop"}
    assert '"search"' in str(attributes["gen_ai.tool.definitions"])


def test_a_stream_of_cohere_s_counts_its_text_once(server: Server, capturing: Telemetry) -> None:
    pieces = sse(
        {"apiFormat": "COHERE", "text": "The capital of France "},
        {"apiFormat": "COHERE", "text": "is Paris."},
        {"apiFormat": "COHERE", "text": TEXT, "finishReason": "COMPLETE", "usage": USAGE},
    )
    server.will(Reply(200, "text/event-stream", pieces))
    request = models.CohereChatRequest(message=PROMPT, is_stream=True)
    found = make(server.url).chat(asked(request, COMMAND))
    assert type(found.data).__name__ == "SSEClient"
    assert len(list(found.data.events())) == 3
    attributes = capturing.attributes
    assert attributes["genledger.usage.character"] == CHARACTERS
    assert attributes["genledger.cost.amount"] == pytest.approx(CHARACTERS * 1e-6)
    assert json.loads(str(attributes["gen_ai.output.messages"]))[0]["parts"][0]["content"] == TEXT


@needs_new
@pytest.mark.parametrize("streams", [False, True])
def test_the_newer_format_of_cohere_has_thoughts_and_tools(server: Server, capturing: Telemetry, streams: bool) -> None:
    content = [{"type": "THINKING", "thinking": "Hm."}, {"type": "TEXT", "text": TEXT}]
    call = {"id": "call-1", "type": "FUNCTION", "function": {"name": "search", "arguments": '{"theQuery": 1}'}}
    message = {"role": "ASSISTANT", "content": content, "toolCalls": [call]}
    if streams:
        end = {"apiFormat": "COHEREV2", "finishReason": "TOOL_CALL", "usage": USAGE}
        server.will(Reply(200, "text/event-stream", sse({"apiFormat": "COHEREV2", "message": message}, end)))
    else:
        answer = {"apiFormat": "COHEREV2", "id": "r-1", "message": message, "finishReason": "TOOL_CALL", "usage": USAGE}
        server.will(answered(COMMAND, **answer))
    said = models.CohereUserMessageV2(content=[models.CohereTextContentV2(text=PROMPT)])
    request = models.CohereChatRequestV2(messages=[said], is_stream=streams)
    found = make(server.url).chat(asked(request, COMMAND))
    if streams:
        assert len(list(found.data.events())) == 2
    attributes = capturing.attributes
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.usage.character"] == CHARACTERS
    (made,) = json.loads(str(attributes["gen_ai.output.messages"]))
    assert made["finish_reason"] == "tool_call"
    assert [part["type"] for part in made["parts"]] == ["reasoning", "text", "tool_call"]
    assert made["parts"][2]["name"] == "search"


def test_oracle_s_own_format_has_tools_and_images(server: Server, capturing: Telemetry) -> None:
    call = {"id": "call-1", "type": "FUNCTION", "name": "search", "arguments": '{"theQuery": "France"}'}
    message = {"role": "ASSISTANT", "content": None, "toolCalls": [call]}
    choice = {"index": 0, "message": message, "finishReason": "tool_calls"}
    server.will(whole(choices=[choice]))
    image = models.ImageContent(image_url=models.ImageUrl(url="https://example.com/a.png"))
    messages = [
        models.SystemMessage(content=[models.TextContent(text="Be brief.")]),
        models.UserMessage(content=[models.TextContent(text=PROMPT), image]),
    ]
    function = models.FunctionDefinition(name="search", parameters={"type": "object"})
    request = models.GenericChatRequest(messages=messages, tools=[function], num_generations=2, top_k=5)
    make(server.url).chat(asked(request))
    attributes = capturing.attributes
    assert attributes["gen_ai.request.choice.count"] == 2
    assert attributes["gen_ai.request.top_k"] == 5
    said = json.loads(str(attributes["gen_ai.input.messages"]))
    assert [part["type"] for part in said[1]["parts"]] == ["text", "uri"]
    (made,) = json.loads(str(attributes["gen_ai.output.messages"]))
    assert made["finish_reason"] == "tool_call"
    assert made["parts"][0]["name"] == "search"


@needs_new
def test_cached_and_reasoning_tokens_are_buckets_of_their_own(server: Server, telemetry: Telemetry) -> None:
    details = {"promptTokensDetails": {"cachedTokens": 400}, "completionTokensDetails": {"reasoningTokens": 100}}
    server.will(whole(usage={**USAGE, **details}))
    make(server.url).chat(asked(generic()))
    assert telemetry.attributes["gen_ai.usage.cache_read.input_tokens"] == 400
    assert telemetry.attributes["gen_ai.usage.reasoning.output_tokens"] == 100


def test_a_dedicated_cluster_bills_no_characters(server: Server, telemetry: Telemetry) -> None:
    server.will(answered(COMMAND, apiFormat="COHERE", text=TEXT, finishReason="COMPLETE", usage=USAGE))
    details = asked(models.CohereChatRequest(message=PROMPT))
    details.serving_mode = models.DedicatedServingMode(endpoint_id="ocid1.generativeaiendpoint.oc1..a")
    make(server.url).chat(details)
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.model"] == "ocid1.generativeaiendpoint.oc1..a"
    assert attributes["gen_ai.response.model"] == COMMAND
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert "genledger.usage.character" not in attributes
    assert attributes["genledger.cost.unpriced"] == "no_rate"


def test_a_request_may_be_a_mapping_and_its_answer_too(server: Server, telemetry: Telemetry) -> None:
    server.will(whole())
    message = {"role": "USER", "content": [{"type": "TEXT", "text": PROMPT}]}
    details = {
        "compartmentId": "c",
        "servingMode": {"servingType": "ON_DEMAND", "modelId": MODEL},
        "chatRequest": {"apiFormat": "GENERIC", "messages": [message], "maxTokens": 7},
    }
    found = make(server.url, skip_deserialization=True).chat(details)
    assert found.data["modelId"] == MODEL
    assert server.requests[0].json == details
    assert telemetry.attributes["gen_ai.request.max_tokens"] == 7
    assert telemetry.attributes["genledger.cost.amount"] == pytest.approx(1000 * 3e-6 + 500 * 15e-6)


def test_a_stream_left_at_its_last_word_is_a_success(server: Server, telemetry: Telemetry) -> None:
    server.will(Reply(200, "text/event-stream", events()))
    found = make(server.url).chat(asked(generic(is_stream=True)))
    for event in found.data.events():
        if "finishReason" in json.loads(event.data):
            break
    found.data.close()
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "success"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)


def test_the_default_strategy_s_retries_are_attempts_at_one_call(
    server: Server, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci.retry.retry.time, "sleep", lambda seconds: None)
    server.will(error(429), error(503), whole())
    make(server.url, retry_strategy=None).chat(asked(generic()))
    assert len(server.requests) == 3
    assert telemetry.attributes["genledger.attempts"] == 3
    assert telemetry.attributes["genledger.retry.causes"] == ("429", "503")
    assert telemetry.attributes["genledger.outcome"] == "success"


def test_an_open_circuit_breaker_sends_and_costs_nothing(server: Server, telemetry: Telemetry) -> None:
    breaker = oci.circuit_breaker.CircuitBreakerStrategy(failure_threshold=1)
    client = make(server.url, circuit_breaker_strategy=breaker)
    server.will(error(503))
    with pytest.raises(oci.exceptions.TransientServiceError):
        client.chat(asked(generic()))
    with pytest.raises(Exception, match="OPEN"):
        client.chat(asked(generic()))
    assert len(server.requests) == 1
    refused = dict(telemetry.spans[-1].attributes or {})
    assert refused["genledger.outcome"] == "error"
    assert refused["error.type"] == "circuitbreaker.CircuitBreakerError"
    assert "genledger.cost.amount" not in refused
    assert "genledger.usage.estimated" not in refused


def test_an_answer_that_does_not_come_in_time_is_taken_for_billed(telemetry: Telemetry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = make(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=(10, 0.2))
        with pytest.raises(oci.exceptions.RequestException):
            client.chat(asked(generic(max_tokens=10)))
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "timeout"
    assert attributes["genledger.usage.estimated"] is True
    assert attributes["genledger.cost.amount"] > 0


@pytest.mark.parametrize(
    ("sizes", "counted"), [({}, {}), ({"output_dimensions": 256}, {"gen_ai.embeddings.dimension.count": 256})]
)
def test_embeddings_are_billed_by_the_characters_of_their_texts(
    server: Server, telemetry: Telemetry, sizes: dict[str, int], counted: dict[str, int]
) -> None:
    if sizes and not NEW:
        pytest.skip("this version lacks it")
    usage = {"promptTokens": 7, "totalTokens": 7}
    server.will(json_reply({"id": "e-1", "modelId": "cohere.embed-v4.0", "embeddings": [[0.1]], "usage": usage}))
    mode = models.OnDemandServingMode(model_id="cohere.embed-v4.0")
    details = models.EmbedTextDetails(inputs=["one", "four"], serving_mode=mode, compartment_id="c", **sizes)
    assert make(server.url).embed_text(details).data.embeddings == [[0.1]]
    attributes = telemetry.attributes
    assert telemetry.span.name == "embeddings cohere.embed-v4.0"
    assert attributes["gen_ai.usage.input_tokens"] == 7
    assert attributes["genledger.usage.character"] == 7
    assert attributes["genledger.cost.amount"] == pytest.approx(7e-6)
    assert {name: attributes[name] for name in counted} == counted


def test_a_rerank_and_a_guardrail_have_no_usage_to_price(server: Server, telemetry: Telemetry) -> None:
    ranks = [{"index": 1, "relevanceScore": 0.9}]
    server.will(json_reply({"id": "r-1", "modelId": "cohere.rerank.v3-5", "documentRanks": ranks}))
    mode = models.OnDemandServingMode(model_id="cohere.rerank.v3-5")
    details = {"serving_mode": mode, "compartment_id": "c"}
    client = make(server.url)
    client.rerank_text(models.RerankTextDetails(input=PROMPT, documents=["a", "b"], top_n=1, **details))
    attributes = dict(telemetry.spans[-1].attributes or {})
    assert telemetry.spans[-1].name == "rerank cohere.rerank.v3-5"
    assert attributes["gen_ai.retrieval.top_k"] == 1
    assert attributes["gen_ai.response.id"] == "r-1"
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    if not NEW:
        return
    server.will(json_reply({"results": {}}))
    client.apply_guardrails(
        models.ApplyGuardrailsDetails(input=models.GuardrailsTextInput(content=PROMPT), compartment_id="c")
    )
    assert telemetry.spans[-1].name == "moderation"
    assert dict(telemetry.spans[-1].attributes or {})["genledger.cost.unpriced"] == "no_usage"


def test_older_endpoints_are_billed_by_characters(server: Server, telemetry: Telemetry) -> None:
    client, mode = make(server.url), models.OnDemandServingMode(model_id="cohere.command")
    details = {"serving_mode": mode, "compartment_id": "c"}
    made = {"runtimeType": "COHERE", "generatedTexts": [{"id": "1", "text": TEXT}]}
    server.will(json_reply({"modelId": "cohere.command", "inferenceResponse": made}))
    request = models.CohereLlmInferenceRequest(prompt=PROMPT, max_tokens=100)
    client.generate_text(models.GenerateTextDetails(inference_request=request, **details))
    server.will(json_reply({"id": "1", "summary": TEXT, "modelId": "cohere.command"}))
    client.summarize_text(models.SummarizeTextDetails(input=PROMPT, **details))
    for span in telemetry.spans:
        attributes = dict(span.attributes or {})
        assert span.name == "text_completion cohere.command"
        assert attributes["genledger.usage.character"] == CHARACTERS
        assert attributes["genledger.cost.amount"] == pytest.approx(CHARACTERS * 1e-6)


def test_budgets_reserve_the_characters_of_the_longest_answer(server: Server, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[budget]]\nname="small"\nusd=0.001\nper="day"\n')
    server.will(answered(COMMAND, apiFormat="COHERE", text=TEXT, finishReason="COMPLETE"))
    client = make(server.url)
    with instrumented(libraries=["oci"], prices=PRICES, budgets=str(rules), budget_store="memory:"):
        client.chat(asked(models.CohereChatRequest(message=PROMPT, max_tokens=100), COMMAND))
        with pytest.raises(BudgetExceeded):
            client.chat(asked(models.CohereChatRequest(message=PROMPT, max_tokens=1000), COMMAND))
    assert len(server.requests) == 1


def test_a_degraded_request_leaves_the_application_s_own_alone(server: Server, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = 'degrade = { model = "xai.grok-3-mini", max_output_tokens = 5 }'
    rules.write_text(f'[[budget]]\nname="small"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(whole())
    details = asked(generic(max_tokens=50))
    with instrumented(libraries=["oci"], prices=PRICES, budgets=str(rules), budget_store="memory:"):
        make(server.url).chat(details)
    assert server.requests[0].json["servingMode"] == {"servingType": "ON_DEMAND", "modelId": "xai.grok-3-mini"}
    assert server.requests[0].json["chatRequest"]["maxTokens"] == 5
    assert (details.serving_mode.model_id, details.chat_request.max_tokens) == (MODEL, 50)


async def test_the_asynchronous_client_reads_a_stream_as_a_whole(server: Server, telemetry: Telemetry) -> None:
    pytest.importorskip("oci.async_base_client")
    server.will(Reply(200, "text/event-stream", events()))
    once = {"retry_strategy": oci.retry.NoneRetryStrategy()}
    async with inference.AsyncGenerativeAiInferenceClient(config(), service_endpoint=server.url, **once) as client:
        await client.chat(asked(generic(is_stream=True)))
    assert telemetry.attributes["genledger.cost.unpriced"] == "no_usage"
    assert "gen_ai.request.stream" not in telemetry.attributes
