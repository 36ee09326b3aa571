"""Bedrock's agents, flows and knowledge bases by boto3."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.event_stream import event, exception
from tests.contract.rows.bedrock_converse import make_client
from tests.contract.server import Reply, Server, json_reply, serving

from genledger_instrumentors.formats.bedrock_agents import AgentEvents, FlowEvents
from genledger_semconv.checker import assert_clean

from ..telemetry import Telemetry, instrumented

pytest.importorskip("boto3")
from botocore.exceptions import EventStreamError

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ASK = {"agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "sessionId": "session-1", "inputText": "What is it?"}


@pytest.fixture
def server() -> Iterator[Server]:
    """Bedrock's end."""
    with serving() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Any:
    """A client."""
    return make_client("bedrock-agent-runtime", server.url, 0)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Genledger on AWS's clients, checked in the end."""
    with instrumented(libraries=["bedrock"]) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


def streamed(*frames: bytes) -> Reply:
    """An event stream."""
    return Reply(200, "application/vnd.amazon.eventstream", frames)


def said(text: str) -> bytes:
    """What an agent says."""
    return event("chunk", {"bytes": b64encode(text.encode()).decode()})


def traced(step: dict[str, Any]) -> bytes:
    """A part of a trace."""
    return event("trace", {"agentId": "AGENT12345", "agentVersion": "4", "sessionId": "session-1", "trace": step})


def invocation(id: str, model: str, into: int, out: int, step: str = "orchestrationTrace") -> tuple[bytes, bytes]:
    """What a trace says before and after a model is asked."""
    asked = {"traceId": id, "foundationModel": model, "text": "{}", "type": "ORCHESTRATION"}
    answered = {"traceId": id, "metadata": {"usage": {"inputTokens": into, "outputTokens": out}}}
    return traced({step: {"modelInvocationInput": asked}}), traced({step: {"modelInvocationOutput": answered}})


def test_an_agent_costs_what_its_trace_says(server: Server, client: Any, telemetry: Telemetry) -> None:
    frames = (*invocation("1", NOVA, 1000, 100), *invocation("2", NOVA, 2000, 400), said("It "), said("is."))
    server.will(streamed(*frames))
    answer = client.invoke_agent(**ASK, enableTrace=True)
    assert [next(iter(one)) for one in answer["completion"]] == ["trace"] * 4 + ["chunk"] * 2
    attributes = telemetry.attributes
    assert telemetry.span.name == "invoke_agent"
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert attributes["gen_ai.agent.id"] == "AGENT12345"
    assert attributes["gen_ai.agent.version"] == "4"
    assert attributes["gen_ai.conversation.id"] == "session-1"
    assert attributes["gen_ai.request.model"] == NOVA
    assert attributes["gen_ai.usage.input_tokens"] == 3000
    assert attributes["gen_ai.usage.output_tokens"] == 500
    assert attributes["genledger.cost.amount"] == pytest.approx((3000 * 0.06 + 500 * 0.24) * 1e-6)
    assert attributes["genledger.outcome"] == "success"
    assert "genledger.usage.estimated" not in attributes


def test_each_model_of_an_agent_has_its_own_price(server: Server, client: Any, telemetry: Telemetry) -> None:
    frames = (
        *invocation("1", SONNET, 1000, 100),
        *invocation("routing-1", NOVA, 2000, 400, step="routingClassifierTrace"),
        *invocation("2", SONNET, 1000, 400),
    )
    server.will(streamed(*frames, said("It is.")))
    list(client.invoke_agent(**ASK, enableTrace=True)["completion"])
    attributes = telemetry.attributes
    sonnet, nova = 2000 * 3.3 + 500 * 16.5, 2000 * 0.06 + 400 * 0.24
    assert attributes["genledger.cost.amount"] == pytest.approx((sonnet + nova) * 1e-6)
    assert f"includes_model:{NOVA}" in attributes["genledger.cost.notes"]
    assert "gen_ai.request.model" not in attributes


def test_an_agent_without_a_trace_is_unpriced(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(streamed(said("It is.")))
    list(client.invoke_agent(**ASK)["completion"])
    attributes = telemetry.attributes
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    assert attributes["genledger.outcome"] == "success"
    assert not {name for name in attributes if name.startswith(("gen_ai.usage.", "genledger.cost.amount"))}


def test_a_model_that_a_trace_does_not_name_is_unpriced(server: Server, client: Any, telemetry: Telemetry) -> None:
    answered = {"traceId": "1", "metadata": {"usage": {"inputTokens": 1000, "outputTokens": 100}}}
    server.will(streamed(traced({"orchestrationTrace": {"modelInvocationOutput": answered}}), said("It is.")))
    list(client.invoke_agent(**ASK, enableTrace=True)["completion"])
    attributes = telemetry.attributes
    assert attributes["gen_ai.usage.input_tokens"] == 1000
    assert attributes["genledger.cost.unpriced"] == "unknown_model"


def test_an_inline_agent_is_priced_by_the_profile_that_was_asked_for(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(streamed(*invocation("1", SONNET.removeprefix("us."), 1000, 500), said("It is.")))
    asked = {"foundationModel": SONNET, "instruction": "Be brief. " * 5, "sessionId": "s-1", "agentName": "scribe"}
    list(client.invoke_inline_agent(**asked, inputText="What is it?", enableTrace=True)["completion"])
    attributes = telemetry.attributes
    assert telemetry.span.name == "invoke_agent scribe"
    assert attributes["gen_ai.request.model"] == SONNET
    assert attributes["genledger.cost.amount"] == pytest.approx((1000 * 3.3 + 500 * 16.5) * 1e-6)


def test_an_agent_that_a_guardrail_stops_says_so(server: Server, client: Any, telemetry: Telemetry) -> None:
    guardrail = {"action": "INTERVENED", "inputAssessments": [{}], "traceId": "guardrail-pre-0"}
    server.will(streamed(traced({"guardrailTrace": guardrail}), said("No.")))
    list(client.invoke_agent(**ASK, enableTrace=True)["completion"])
    attributes = telemetry.attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("guardrail_intervened",)
    assert attributes["genledger.outcome"] == "success"


def test_an_agent_that_is_throttled_raises_and_is_rate_limited(
    server: Server, client: Any, telemetry: Telemetry
) -> None:
    server.will(streamed(*invocation("1", NOVA, 1000, 100), exception("throttlingException", "Too many.")))
    with pytest.raises(EventStreamError, match="throttlingException"):
        list(client.invoke_agent(**ASK, enableTrace=True)["completion"])
    attributes = telemetry.attributes
    assert attributes["genledger.outcome"] == "rate_limited"
    assert attributes["genledger.cost.amount"] == pytest.approx((1000 * 0.06 + 100 * 0.24) * 1e-6)


def test_an_agent_that_nobody_reads_on_is_cancelled(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(streamed(said("It "), said("is.")))
    stream = client.invoke_agent(**ASK)["completion"]
    next(iter(stream))
    stream.close()
    assert telemetry.attributes["genledger.outcome"] == "cancelled"


def test_content_of_an_agent_is_messages_of_the_conventions(server: Server, client: Any) -> None:
    function = {
        "actionGroup": "desk",
        "function": "look",
        "parameters": [{"name": "at", "type": "string", "value": "it"}],
    }
    control = {"invocationId": "i1", "invocationInputs": [{"functionInvocationInput": function}]}
    server.will(streamed(said("I look."), event("returnControl", control)))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        list(client.invoke_agent(**ASK)["completion"])
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
    (asked,) = json.loads(attributes["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "What is it?"}]}
    (output,) = json.loads(attributes["gen_ai.output.messages"])
    call = {"type": "tool_call", "id": "i1", "name": "look", "arguments": {"at": "it"}}
    assert output["parts"] == [{"type": "text", "content": "I look."}, call]
    assert output["finish_reason"] == "tool_call"


def test_a_degraded_inline_agent_is_sent_as_degraded(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    degrade = f'degrade = {{ model = "{NOVA}" }}'
    rules.write_text(f'[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n{degrade}\n')
    server.will(streamed(said("It is.")))
    asked = {"foundationModel": SONNET, "instruction": "Be brief. " * 5, "sessionId": "s-1"}
    with instrumented(libraries=["bedrock"], budgets=str(rules), budget_store="memory:"):
        list(client.invoke_inline_agent(**asked, inputText="What is it?")["completion"])
    assert server.requests[0].json["foundationModel"] == NOVA


def test_a_budget_does_not_change_the_model_of_an_agent(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n'
        f'degrade = {{ model = "{NOVA}", max_output_tokens = 50 }}\n'
    )
    server.will(streamed(said("It is.")))
    with instrumented(libraries=["bedrock"], budgets=str(rules), budget_store="memory:"):
        list(client.invoke_agent(**ASK)["completion"])
    assert server.requests[0].json == {"inputText": "What is it?"}


FLOW = {
    "flowIdentifier": "FLOW123456",
    "flowAliasIdentifier": "ALIAS12345",
    "inputs": [{"nodeName": "in", "nodeOutputName": "document", "content": {"document": "What is it?"}}],
}


def test_a_flow_is_a_workflow_without_a_price(server: Server, client: Any) -> None:
    output = {"nodeName": "out", "nodeType": "FlowOutputNode", "content": {"document": "It is."}}
    server.will(
        streamed(event("flowOutputEvent", output), event("flowCompletionEvent", {"completionReason": "SUCCESS"}))
    )
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        list(client.invoke_flow(**FLOW)["responseStream"])
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
        assert telemetry.span.name == "invoke_workflow FLOW123456"
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    assert attributes["genledger.outcome"] == "success"
    assert "What is it?" in attributes["gen_ai.input.messages"]
    assert "It is." in attributes["gen_ai.output.messages"]


RERANKER = "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"
RESULTS = [
    {"content": {"text": "Paris."}, "location": {"type": "S3", "s3Location": {"uri": "s3://atlas/1"}}, "score": 0.9},
    {"content": {"text": "Lyon."}, "location": {"type": "S3", "s3Location": {"uri": "s3://atlas/2"}}, "score": 0.5},
]


def search(**more: Any) -> dict[str, Any]:
    """A search of a knowledge base."""
    vector = {"numberOfResults": 5, "filter": {"equals": {"key": "k", "value": "v"}}, **more}
    return {
        "knowledgeBaseId": "BASE123456",
        "retrievalQuery": {"text": "What is the capital?"},
        "retrievalConfiguration": {"vectorSearchConfiguration": vector},
    }


def test_a_search_of_a_knowledge_base_is_a_retrieval_with_scores(server: Server, client: Any) -> None:
    server.will(json_reply({"retrievalResults": RESULTS}))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        client.retrieve(**search())
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
        assert telemetry.span.name == "retrieval BASE123456"
    assert attributes["gen_ai.data_source.id"] == "BASE123456"
    assert attributes["gen_ai.retrieval.top_k"] == 5
    assert attributes["genledger.retrieval.filtered"] is True
    assert attributes["genledger.retrieval.results"] == 2
    assert attributes["genledger.retrieval.score.mean"] == pytest.approx(0.7)
    assert attributes["gen_ai.retrieval.query.text"] == "What is the capital?"
    assert json.loads(attributes["gen_ai.retrieval.documents"])[0] == {
        "id": "s3://atlas/1",
        "score": 0.9,
        "content": "Paris.",
    }
    assert not {name for name in attributes if name.startswith(("genledger.cost.", "gen_ai.request.model"))}


def test_a_model_that_orders_what_was_found_is_billed(server: Server, client: Any, telemetry: Telemetry) -> None:
    server.will(json_reply({"retrievalResults": RESULTS}))
    model = {"modelConfiguration": {"modelArn": RERANKER}}
    reranking = {"type": "BEDROCK_RERANKING_MODEL", "bedrockRerankingConfiguration": model}
    client.retrieve(**search(rerankingConfiguration=reranking))
    attributes = telemetry.attributes
    assert attributes["gen_ai.request.model"] == RERANKER
    assert attributes["genledger.cost.amount"] == pytest.approx(0.002)


def test_a_search_by_an_agent_is_a_retrieval_without_a_price(server: Server, client: Any) -> None:
    found = [{"content": {"text": "Paris."}, "sourceRetriever": {"identifier": "BASE123456"}}]
    server.will(streamed(event("traceEvent", {"id": "1"}), event("result", {"results": found})))
    asked = {"messages": [{"role": "user", "content": {"text": "What is the capital?"}}]}
    configuration = {"foundationModelType": "MANAGED", "rerankingModelType": "NONE"}
    base = {"configuration": {"knowledgeBase": {"knowledgeBaseId": "BASE123456"}}}
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        if not hasattr(client, "agentic_retrieve_stream"):
            pytest.skip("this version does not have it")
        list(
            client.agentic_retrieve_stream(**asked, agenticRetrieveConfiguration=configuration, retrievers=[base])[
                "stream"
            ]
        )
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
    assert attributes["genledger.retrieval.results"] == 1
    assert attributes["gen_ai.retrieval.query.text"] == "What is the capital?"
    assert attributes["genledger.cost.unpriced"] == "no_usage"


def generate(**more: Any) -> dict[str, Any]:
    """A question to a knowledge base."""
    base = {"knowledgeBaseId": "BASE123456", "modelArn": NOVA, **more}
    configuration = {"type": "KNOWLEDGE_BASE", "knowledgeBaseConfiguration": base}
    return {"input": {"text": "What is the capital?"}, "retrieveAndGenerateConfiguration": configuration}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_from_a_knowledge_base_is_unpriced(server: Server, client: Any, stream: bool) -> None:
    answer = {"output": {"text": "Paris."}, "citations": [], "sessionId": "s1"}
    pieces = [event("output", {"text": piece}) for piece in ("Par", "is.")]
    server.will(streamed(*pieces) if stream else json_reply(answer))
    with instrumented(libraries=["bedrock"], capture_content="span") as telemetry:
        if stream:
            assert len(list(client.retrieve_and_generate_stream(**generate())["stream"])) == 2
        else:
            assert client.retrieve_and_generate(**generate())["output"] == {"text": "Paris."}
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        attributes = telemetry.attributes
        assert telemetry.span.name == f"chat {NOVA}"
    assert attributes["aws.bedrock.knowledge_base.id"] == "BASE123456"
    assert attributes["genledger.cost.unpriced"] == "no_usage"
    assert attributes["genledger.outcome"] == "success"
    assert attributes.get("gen_ai.request.stream", False) is stream
    assert "gen_ai.usage.input_tokens" not in attributes
    assert "Paris." in attributes["gen_ai.output.messages"]
    assert "error" not in attributes.get("gen_ai.response.finish_reasons", ())


def test_a_degraded_question_is_sent_as_degraded(server: Server, client: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[budget]]\nname="cheap"\nusd=0.0000001\nper="day"\nat_limit="degrade"\n'
        'degrade = { model = "amazon.nova-micro-v1:0", max_output_tokens = 50 }\n'
    )
    server.will(json_reply({"output": {"text": "Paris."}, "sessionId": "s1"}))
    with instrumented(libraries=["bedrock"], budgets=str(rules), budget_store="memory:"):
        client.retrieve_and_generate(**generate())
    limit = {"inferenceConfig": {"textInferenceConfig": {"maxTokens": 50}}}
    sent = generate(modelArn="amazon.nova-micro-v1:0", generationConfiguration=limit)
    assert server.requests[0].json == sent


@pytest.mark.parametrize("kind", [AgentEvents, FlowEvents])
@pytest.mark.parametrize("strange", [{}, {"chunk": 7}, {"trace": {"trace": []}}, {"trace": None}, {"returnControl": 1}])
def test_no_event_is_too_strange_to_be_passed_over(kind: type, strange: Any) -> None:
    accumulator = kind({}, True)
    accumulator.fold([strange])
    json.dumps(accumulator.response())
    assert not accumulator.counted
