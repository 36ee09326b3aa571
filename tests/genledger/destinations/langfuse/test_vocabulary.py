from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from genledger.context.attribution import Attribution
from genledger.destinations.langfuse.vocabulary import Project, environment_name, observation_type, translate
from genledger.destinations.selection.span_processor import FinishedSpan

Translate = Callable[..., dict[str, Any]]


def make_span(attributes: dict[str, Any], **fields: Any) -> ReadableSpan:
    values: dict[str, Any] = {
        "name": "chat gpt-4o",
        "context": SpanContext(1, 2, False, TraceFlags(1)),
        "resource": Resource({"service.name": "s"}),
        "attributes": attributes,
        "kind": SpanKind.CLIENT,
        "instrumentation_scope": InstrumentationScope("genledger", "1"),
        "start_time": 1_700_000_000_000_000_000,
        "end_time": 1_700_000_002_000_000_000,
        **fields,
    }
    return ReadableSpan(**values)


def translated(attributes: dict[str, Any], project: Project | None = None, item: Any = None, **fields: Any) -> Any:
    span = make_span(attributes, **fields)
    before = dict(span.attributes or {})
    ended = FinishedSpan(span, None, **(item or {}))
    result = translate(ended, project or Project())
    assert dict(span.attributes or {}) == before, "the span itself must stay as it is"
    return result.attributes


CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024"}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("chat", "generation"), ("text_completion", "generation"), ("generate_content", "generation"),
        ("embeddings", "embedding"), ("retrieval", "retriever"), ("rerank", "retriever"),
        ("invoke_agent", "agent"), ("create_agent", "agent"), ("execute_tool", "tool"),
        ("invoke_workflow", "chain"), ("moderation", "guardrail"), ("count_tokens", "span"), ("batch", "span"),
    ],
)  # fmt: skip
def test_each_operation_has_its_type(operation, kind) -> None:
    assert translated({"gen_ai.operation.name": operation})["langfuse.observation.type"] == kind


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"openinference.span.kind": "LLM"}, "generation"),
        ({"openinference.span.kind": "GUARDRAIL"}, "guardrail"),
        ({"openinference.span.kind": "EVALUATOR"}, "evaluator"),
        ({"traceloop.span.kind": "workflow"}, "chain"),
        ({"genledger.operation.kind": "task"}, "span"),
        ({"gen_ai.tool.name": "search"}, "tool"),
        ({"db.system.name": "chroma", "db.operation.name": "query"}, "retriever"),
        ({"db.system.name": "chroma", "db.operation.name": "upsert"}, "span"),
        ({"llm.request.type": "chat"}, "generation"),
        ({"gen_ai.request.model": "x"}, "generation"),
        ({}, "span"),
    ],
)
def test_spans_of_others_have_their_types(attributes, kind) -> None:
    assert observation_type(attributes) == kind


def test_usage_and_cost_are_json_with_exclusive_buckets_and_totals() -> None:
    attributes = translated(
        {
            **CHAT,
            "gen_ai.usage.input_tokens": 1120,
            "gen_ai.usage.cache_read.input_tokens": 1049,
            "gen_ai.usage.output_tokens": 40,
            "gen_ai.usage.reasoning.output_tokens": 30,
            "genledger.cost.amount": 0.0021,
            "genledger.cost.input": 0.0011,
            "genledger.cost.output": 0.001,
            "genledger.cost.source": "table",
        }
    )
    assert json.loads(attributes["langfuse.observation.usage_details"]) == {
        "input": 71, "input_cached_tokens": 1049, "output": 40, "total": 1160,
    }  # fmt: skip
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {
        "input": 0.0011, "output": 0.001, "total": 0.0021,
    }  # fmt: skip
    assert attributes["langfuse.observation.metadata.cost_source"] == "table"


def test_no_attribute_left_over_could_become_a_usage_bucket() -> None:
    attributes = translated(
        {
            **CHAT,
            "gen_ai.usage.input_tokens": 1,
            "gen_ai.usage.image.input_tokens": 1,
            "gen_ai.usage.cost": 0.5,
            "gen_ai.usage.details.cache_read": 3,
            "llm.token_count.total": 9,
            "genledger.usage.web_search": 2.0,
            "genledger.cost.amount": 0.1,
        }
    )
    assert not [key for key in attributes if key.startswith(("gen_ai.usage.", "llm.", "genledger."))]
    assert attributes["langfuse.observation.metadata.usage_web_search"] == 2.0


def test_a_call_that_is_not_priced_gets_no_cost() -> None:
    attributes = translated({**CHAT, "gen_ai.usage.input_tokens": 10, "genledger.cost.unpriced": "unknown_model"})
    assert "langfuse.observation.cost_details" not in attributes
    assert attributes["langfuse.observation.metadata.cost_unpriced"] == "unknown_model"


def test_a_failed_call_without_usage_costs_nothing_rather_than_what_langfuse_would_count() -> None:
    attributes = translated(
        {**CHAT, "genledger.outcome": "rate_limited", "error.type": "429", "genledger.cost.unpriced": "error"},
        status=Status(StatusCode.ERROR, "429 Too Many Requests"),
    )
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {"total": 0}
    assert attributes["langfuse.observation.level"] == "ERROR"
    assert attributes["langfuse.observation.status_message"] == "429 Too Many Requests"


def test_a_failed_call_with_usage_costs_what_it_used() -> None:
    attributes = translated(
        {**CHAT, "gen_ai.usage.input_tokens": 10, "genledger.cost.amount": 0.5, "genledger.outcome": "error"},
        status=Status(StatusCode.ERROR),
    )
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {"total": 0.5}


@pytest.mark.parametrize(
    ("outcome", "status", "level"),
    [
        ("success", StatusCode.UNSET, None),
        ("error", StatusCode.ERROR, "ERROR"),
        ("timeout", StatusCode.ERROR, "ERROR"),
        ("blocked", StatusCode.ERROR, "WARNING"),
        ("cancelled", StatusCode.UNSET, "WARNING"),
        (None, StatusCode.ERROR, "ERROR"),
    ],
)
def test_the_level_tells_how_it_ended(outcome, status, level) -> None:
    given = {**CHAT, **({"genledger.outcome": outcome} if outcome else {})}
    assert translated(given, status=Status(status)).get("langfuse.observation.level") == level


def test_without_a_description_the_exception_says_what_went_wrong() -> None:
    event = Event("exception", {"exception.type": "ValueError", "exception.message": "bad"}, 1)
    attributes = translated(CHAT, status=Status(StatusCode.ERROR), events=[event])
    assert attributes["langfuse.observation.status_message"] == "ValueError: bad"
    attributes = translated({**CHAT, "error.type": "timeout"}, status=Status(StatusCode.ERROR))
    assert attributes["langfuse.observation.status_message"] == "timeout"


def test_model_and_parameters() -> None:
    attributes = translated(
        {
            **CHAT,
            "gen_ai.request.temperature": 0.2,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.stop_sequences": ("a", "b"),
            "gen_ai.request.stream": True,
        }
    )
    assert attributes["langfuse.observation.model.name"] == "gpt-4o-2024"
    assert json.loads(attributes["langfuse.observation.model.parameters"]) == {
        "temperature": 0.2, "max_tokens": 100, "stop": ["a", "b"], "stream": True,
    }  # fmt: skip


@pytest.mark.parametrize(("version", "number"), [("4", 4), ("v4", 4), ("V12", 12), ("draft-a", None), (None, None)])
def test_a_prompt_is_linked_by_name_and_number(version, number) -> None:
    attributes = translated(
        {**CHAT, "gen_ai.prompt.name": "draft", **({"gen_ai.prompt.version": version} if version else {})}
    )
    assert attributes["langfuse.observation.prompt.name"] == "draft"
    assert attributes.get("langfuse.observation.prompt.version") == number
    assert attributes.get("langfuse.observation.metadata.prompt_version") == version


def test_only_generations_link_to_prompts() -> None:
    attributes = translated({"gen_ai.operation.name": "retrieval", "gen_ai.prompt.name": "draft"})
    assert "langfuse.observation.prompt.name" not in attributes
    assert attributes["langfuse.observation.metadata.prompt_name"] == "draft"


def test_the_time_of_the_first_chunk_is_a_moment() -> None:
    attributes = translated({**CHAT, "gen_ai.response.time_to_first_chunk": 0.25})
    assert attributes["langfuse.observation.completion_start_time"] == "2023-11-14T22:13:20.250000Z"


def test_messages_are_json_texts_with_the_instructions_in_front() -> None:
    messages = [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "hello"}], "finish_reason": "stop"}]
    attributes = translated(
        {
            **CHAT,
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.output.messages": json.dumps(answer),
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "be kind"}]),
        }
    )
    assert json.loads(attributes["langfuse.observation.input"]) == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
    ]
    assert json.loads(attributes["langfuse.observation.output"]) == {"role": "assistant", "content": "hello"}
    assert "gen_ai.input.messages" not in attributes


def test_structured_messages_become_json_texts() -> None:
    attributes = translated({**CHAT, "gen_ai.input.messages": ({"role": "user", "parts": ({"type": "text"},)},)})
    assert json.loads(attributes["langfuse.observation.input"]) == [{"role": "user", "content": ""}]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"gen_ai.input.messages": "[]"}, {"input": []}),
        ({"gen_ai.output.messages": '[{"role":"assistant"}]'}, {"output": {"role": "assistant"}}),
        (
            {"gen_ai.tool.call.arguments": '{"q":1}', "gen_ai.tool.call.result": "plain"},
            {"input": {"q": 1}, "output": "plain"},
        ),
        ({"gen_ai.retrieval.query.text": "[not json"}, {"input": "[not json"}),
        ({"gen_ai.retrieval.documents": '[{"content":"a"}]'}, {"output": [{"content": "a"}]}),
        ({}, {}),
    ],
)
def test_what_was_not_said_is_left_out_rather_than_written_as_null(given, written) -> None:
    attributes = translated({**CHAT, **given})
    prefix = "langfuse.observation."
    found = {name: attributes[prefix + name] for name in ("input", "output") if prefix + name in attributes}
    assert {name: json.loads(text) for name, text in found.items()} == written


def test_who_it_is_for_is_on_the_span_whether_it_says_so_itself_or_was_started_for_them() -> None:
    who = Attribution(
        tenant="acme", feature="copilot", user="u1", session="s1", tags=("beta",), metadata={"plan": "pro", "seats": 3}
    )
    project = Project("prod", "r7", "1.2")
    from_context = translated(CHAT, project, {"attribution": who, "trace_name": "POST /chat"})
    from_attributes = translated(
        {
            **CHAT,
            "user.id": "u1",
            "session.id": "s1",
            "genledger.tenant.id": "acme",
            "genledger.feature": "copilot",
            "genledger.tags": ("beta",),
            "genledger.metadata.plan": "pro",
            "genledger.metadata.seats": 3,
        },
        project,
        {"trace_name": "POST /chat"},
    )
    for attributes in (from_context, from_attributes):
        assert attributes["user.id"] == "u1"
        assert attributes["session.id"] == "s1"
        assert attributes["langfuse.trace.name"] == "POST /chat"
        assert attributes["langfuse.trace.tags"] == ("beta", "feature:copilot", "tenant:acme")
        assert attributes["langfuse.trace.metadata.plan"] == "pro"
        assert attributes["langfuse.trace.metadata.seats"] == 3
        assert attributes["langfuse.trace.metadata.tenant"] == "acme"
        assert attributes["langfuse.trace.metadata.feature"] == "copilot"
        assert attributes["langfuse.environment"] == "prod"
        assert attributes["langfuse.release"] == "r7"
        assert attributes["langfuse.version"] == "1.2"


def test_metadata_has_the_keys_that_people_filter_by() -> None:
    who = Attribution(tenant="acme", feature="copilot", prompt_name="draft", prompt_version="v4")
    for given in ({}, who.attributes):
        attributes = translated({**CHAT, **given}, item={"attribution": who if not given else Attribution()})
        metadata = {key: value for key, value in attributes.items() if key.startswith("langfuse.trace.metadata.")}
        assert metadata == {
            "langfuse.trace.metadata.tenantId": "acme",
            "langfuse.trace.metadata.tenant": "acme",
            "langfuse.trace.metadata.feature": "copilot",
            "langfuse.trace.metadata.promptName": "draft",
            "langfuse.trace.metadata.promptVersion": "v4",
        }


def test_the_tags_of_attribution_can_be_switched_off_and_join_those_of_langfuses_sdk() -> None:
    given = {**CHAT, "genledger.tenant.id": "acme", "genledger.cost.unpriced": "unknown_model"}
    assert translated(given)["langfuse.trace.tags"] == ("tenant:acme", "unpriced")
    assert "langfuse.trace.tags" not in translated(given, Project(tags=False))
    assert translated({**given, "langfuse.trace.tags": ("vip",)})["langfuse.trace.tags"] == (
        "vip", "tenant:acme", "unpriced",
    )  # fmt: skip


def test_a_trace_can_be_called_by_the_feature_of_each_observation() -> None:
    by_feature = Project(trace_name="feature")
    given, item = {**CHAT, "genledger.feature": "copilot"}, {"trace_name": "POST /chat"}
    assert translated(given, by_feature, item)["langfuse.trace.name"] == "copilot"
    assert translated(CHAT, by_feature, item)["langfuse.trace.name"] == "POST /chat"
    assert translated(given, Project(), item)["langfuse.trace.name"] == "POST /chat"


def test_what_a_cache_answered_costs_nothing_rather_than_what_langfuse_would_count() -> None:
    attributes = translated({**CHAT, "genledger.outcome": "success", "genledger.cache.name": "litellm"})
    assert json.loads(attributes["langfuse.observation.cost_details"]) == {"total": 0}
    assert attributes["langfuse.observation.metadata.cache_name"] == "litellm"
    assert "langfuse.trace.tags" not in attributes


def test_a_call_whose_cost_is_known_is_not_tagged_as_unpriced() -> None:
    assert "langfuse.trace.tags" not in translated({**CHAT, "genledger.cost.amount": 0.5})
    failed = translated(
        {**CHAT, "genledger.outcome": "error", "genledger.cost.unpriced": "error"}, status=Status(StatusCode.ERROR)
    )
    assert "langfuse.trace.tags" not in failed


def test_metadata_that_langfuses_sdk_propagates_is_stored_without_its_quotes() -> None:
    given = {"langfuse.trace.metadata.plan": '"pro"', "langfuse.trace.metadata.seats": "3"}
    attributes = translated({**CHAT, **given})
    assert attributes["langfuse.trace.metadata.plan"] == "pro"
    assert attributes["langfuse.trace.metadata.seats"] == "3"
    assert translated(given, instrumentation_scope=InstrumentationScope("langfuse-sdk", "5.0.4")) == given


@pytest.mark.parametrize(
    "key", ["outcome", "scope", "cost_source", "total_cost", "usage_web_search", "attributes", "prompt_version"]
)
def test_an_applications_metadata_stands_beside_ours_not_over_it(key) -> None:
    ours = {**CHAT, "genledger.outcome": "success", "genledger.cost.source": "table", "genledger.cost.amount": 0.5}
    for given in ({f"genledger.metadata.{key}": "theirs"}, {f"langfuse.trace.metadata.{key}": '"theirs"'}):
        attributes = translated({**ours, **given})
        assert f"langfuse.trace.metadata.{key}" not in attributes
        assert attributes[f"langfuse.trace.metadata.metadata_{key}"] == "theirs"
        assert attributes["langfuse.observation.metadata.outcome"] == "success"


def test_the_tenant_of_the_attribution_is_not_replaced_by_metadata_of_that_name() -> None:
    given = {"genledger.metadata.tenantId": "theirs"}
    assert translated({**CHAT, **given})["langfuse.trace.metadata.tenantId"] == "theirs"
    attributes = translated({**CHAT, **given, "genledger.tenant.id": "acme"})
    assert attributes["langfuse.trace.metadata.tenantId"] == "acme"
    assert attributes["langfuse.trace.metadata.metadata_tenantId"] == "theirs"


@pytest.mark.parametrize(
    ("given", "tier"),
    [
        ({"openai.request.service_tier": "priority"}, "priority"),
        ({"openai.request.service_tier": "priority", "openai.response.service_tier": "default"}, "default"),
    ],
)
def test_the_tier_that_served_a_call_is_among_its_parameters(given, tier) -> None:
    attributes = translated({**CHAT, **given})
    assert json.loads(attributes["langfuse.observation.model.parameters"]) == {"service_tier": tier}


def test_environment_and_version_come_from_the_resource_when_not_given() -> None:
    resource = Resource({"deployment.environment.name": "Staging EU", "service.version": "9"})
    attributes = translated(CHAT, resource=resource)
    assert attributes["langfuse.environment"] == "staging-eu"
    assert attributes["langfuse.version"] == "9"


@pytest.mark.parametrize(
    ("given", "name"),
    [("Prod", "prod"), ("langfuse-eu", "eu"), (" a b/c ", "a-b-c"), ("x" * 50, "x" * 40), ("prod_1-a", "prod_1-a")],
)
def test_environments_are_named_as_langfuse_takes_them(given, name) -> None:
    assert environment_name(given) == name


def test_what_the_application_says_in_langfuses_own_words_wins() -> None:
    attributes = translated(
        {
            **CHAT,
            "gen_ai.usage.input_tokens": 5,
            "langfuse.observation.type": "evaluator",
            "langfuse.observation.usage_details": '{"total":1}',
            "langfuse.trace.name": "mine",
            "langfuse.observation.input": '"mine"',
            "gen_ai.input.messages": "[]",
        },
        item={"trace_name": "other"},
    )
    assert attributes["langfuse.observation.type"] == "evaluator"
    assert attributes["langfuse.observation.usage_details"] == '{"total":1}'
    assert attributes["langfuse.trace.name"] == "mine"
    assert attributes["langfuse.observation.input"] == '"mine"'
    assert "langfuse.observation.output" not in attributes


def test_an_agent_carries_structure_and_no_usage_unless_it_is_the_one_that_was_priced() -> None:
    usage = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 50, "gen_ai.usage.output_tokens": 5}
    structure = translated(usage)
    assert "langfuse.observation.usage_details" not in structure
    assert not [key for key in structure if key.startswith("gen_ai.usage")]
    priced = translated({**usage, "genledger.cost.amount": 0.25})
    assert json.loads(priced["langfuse.observation.cost_details"])["total"] == 0.25
    # With this operation name, Langfuse would throw usage and cost away.
    assert "gen_ai.operation.name" not in priced
    assert priced["langfuse.observation.type"] == "agent"


@pytest.mark.parametrize(
    "step",
    [
        *({"gen_ai.operation.name": name} for name in ("invoke_agent", "execute_tool", "invoke_workflow", "retrieval")),
        {"genledger.operation.kind": "task"},
    ],
)
def test_a_step_shows_the_total_of_its_calls_where_langfuse_does_not_add_it_up(step) -> None:
    totals = {"total.calls": 3, "total.tokens": 450, "total.unpriced": 1, "total.cost": 0.25}
    attributes = translated({**step, **{f"genledger.{key}": value for key, value in totals.items()}})
    for key, value in totals.items():
        assert attributes[f"langfuse.observation.metadata.{key.replace('.', '_')}"] == value
    for field in ("usage_details", "cost_details", "model.name"):
        assert f"langfuse.observation.{field}" not in attributes
    assert not [key for key in attributes if key.startswith(("gen_ai.usage", "llm."))]


def test_spans_of_langfuses_own_sdk_keep_their_words() -> None:
    given = {"langfuse.observation.type": "generation", "langfuse.observation.metadata.a": '"b"'}
    attributes = translated(given, instrumentation_scope=InstrumentationScope("langfuse-sdk", "5.0.4"))
    assert attributes == given
