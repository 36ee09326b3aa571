from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from genledger_semconv.checker import Deviation, check

MakeSpan = Callable[..., ReadableSpan]

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "server.address": "api.openai.com",
    "server.port": 443,
}
FAILED = {**CHAT, "error.type": "RateLimitError"}
QUERY = {
    "db.system.name": "chroma",
    "db.operation.name": "query",
    "db.collection.name": "docs",
    "db.namespace": "default",
}


def without(attributes: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name not in names}


def brief(found: list[Deviation]) -> list[tuple[str, str | None]]:
    return [(deviation.rule, deviation.attribute) for deviation in found]


CLEAN: dict[str, tuple[str, dict[str, Any], SpanKind]] = {
    "chat with everything": (
        "chat gpt-5",
        {
            **CHAT,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.stream": True,
            "gen_ai.request.stop_sequences": ["\n"],
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.time_to_first_chunk": 0.1,
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.cache_read.input_tokens": 60,
            "gen_ai.usage.cache_write.input_tokens": 40,
            "gen_ai.usage.reasoning.output_tokens": 20,
            "openai.api.type": "responses",
            "gen_ai.prompt.name": "draft",
            "gen_ai.prompt.version": "v4",
            "user.id": "u1",
            "session.id": "s1",
            "genledger.tenant.id": "acme",
            "genledger.feature": "copilot",
            "genledger.tags": ["beta"],
            "genledger.metadata.plan": "pro",
            "genledger.metadata.seats": 3,
            "genledger.outcome": "success",
            "genledger.attempts": 2,
            "genledger.retry.causes": ["429"],
            "genledger.usage.web_search": 2,
            "genledger.usage.estimated": False,
            "genledger.cost.amount": 0.03,
            "genledger.cost.input": 0.01,
            "genledger.cost.output": 0.02,
            "genledger.cost.source": "table",
            "genledger.cost.table_date": "2026-11-01",
            "genledger.cost.notes": ["priority tier"],
        },
        SpanKind.CLIENT,
    ),
    "chat without a model of a provider that needs none": (
        "chat",
        {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic"},
        SpanKind.CLIENT,
    ),
    "chat with a model in this process": ("chat gpt-5", CHAT, SpanKind.INTERNAL),
    "unpriced": ("chat gpt-5", {**CHAT, "genledger.cost.unpriced": "unknown_model"}, SpanKind.CLIENT),
    "embeddings": (
        "embeddings e-1",
        {**CHAT, "gen_ai.operation.name": "embeddings", "gen_ai.request.model": "e-1"},
        SpanKind.CLIENT,
    ),
    "an operation of ours": (
        "rerank r-1",
        {
            "gen_ai.operation.name": "rerank",
            "gen_ai.provider.name": "cohere",
            "gen_ai.request.model": "r-1",
            "genledger.usage.search_unit": 1,
        },
        SpanKind.CLIENT,
    ),
    "hosted agent": (
        "invoke_agent Math",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "openai",
            "gen_ai.agent.name": "Math",
            "gen_ai.agent.id": "a1",
        },
        SpanKind.CLIENT,
    ),
    "agent in this process": (
        "invoke_agent Math",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "Math",
            "gen_ai.usage.input_tokens": 3,
            "genledger.tenant.id": "acme",
        },
        SpanKind.INTERNAL,
    ),
    "tool": (
        "execute_tool add",
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "add", "gen_ai.tool.type": "function"},
        SpanKind.INTERNAL,
    ),
    "tool that MCP instrumentation enriches": (
        "execute_tool add",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "add",
            "mcp.method.name": "tools/call",
            "mcp.session.id": "m1",
        },
        SpanKind.INTERNAL,
    ),
    "MCP server": (
        "prompts/get draft",
        {"mcp.method.name": "prompts/get", "gen_ai.prompt.name": "draft"},
        SpanKind.SERVER,
    ),
    "workflow": (
        "invoke_workflow triage",
        {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": "triage"},
        SpanKind.INTERNAL,
    ),
    "task": ("anything", {"genledger.operation.kind": "task"}, SpanKind.INTERNAL),
    "vector query": (
        "query docs",
        {
            **QUERY,
            "gen_ai.retrieval.top_k": 3,
            "genledger.retrieval.results": 3,
            "genledger.retrieval.distance.min": 0.1,
        },
        SpanKind.CLIENT,
    ),
    "vector query in this process": ("query docs", QUERY, SpanKind.INTERNAL),
    "vector query that is a retrieval, by its database name": (
        "query docs",
        {**QUERY, "gen_ai.operation.name": "retrieval"},
        SpanKind.CLIENT,
    ),
    "vector query that is a retrieval, by its retrieval name": (
        "retrieval docs",
        {**QUERY, "gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "docs"},
        SpanKind.CLIENT,
    ),
    "operation without a collection": (
        "list_collections default",
        without({**QUERY, "db.operation.name": "list_collections"}, "db.collection.name"),
        SpanKind.CLIENT,
    ),
}


@pytest.mark.parametrize("case", CLEAN)
def test_spans_as_the_registry_wants_them_are_clean(make_span: MakeSpan, case: str) -> None:
    name, attributes, kind = CLEAN[case]
    assert check([make_span(name, attributes, kind=kind)]) == []


Case = tuple[str, dict[str, Any], dict[str, Any], str, str | None]

DEVIATING: dict[str, Case] = {
    "no model at OpenAI": (
        "chat",
        without(CHAT, "gen_ai.request.model"),
        {},
        "required-attribute",
        "gen_ai.request.model",
    ),
    "no operation": (
        "chat gpt-5",
        without(CHAT, "gen_ai.operation.name"),
        {},
        "required-attribute",
        "gen_ai.operation.name",
    ),
    "a span of ours that says nothing of itself": (
        "work",
        {"genledger.tenant.id": "acme"},
        {},
        "span-type",
        None,
    ),
    "name without the model": ("chat", CHAT, {}, "span-name", None),
    "name of another style": ("openai.chat", CHAT, {}, "span-name", None),
    "database name without the collection": ("query", QUERY, {}, "span-name", None),
    "chat as a server": ("chat gpt-5", CHAT, {"kind": SpanKind.SERVER}, "span-kind", None),
    "embeddings as internal": (
        "embeddings gpt-5",
        {**CHAT, "gen_ai.operation.name": "embeddings"},
        {"kind": SpanKind.INTERNAL},
        "span-kind",
        None,
    ),
    "tool as a client": (
        "execute_tool add",
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "add"},
        {"kind": SpanKind.CLIENT},
        "span-kind",
        None,
    ),
    "status OK": ("chat gpt-5", CHAT, {"status": StatusCode.OK}, "status-ok", None),
    "ERROR without error.type": (
        "chat gpt-5",
        CHAT,
        {"status": StatusCode.ERROR},
        "error-type",
        "error.type",
    ),
    "error.type without ERROR": ("chat gpt-5", FAILED, {}, "error-type", "error.type"),
    "success that failed": (
        "chat gpt-5",
        {**FAILED, "genledger.outcome": "success"},
        {"status": StatusCode.ERROR},
        "outcome",
        "genledger.outcome",
    ),
    "timeout that did not fail": (
        "chat gpt-5",
        {**CHAT, "genledger.outcome": "timeout"},
        {},
        "outcome",
        "genledger.outcome",
    ),
    "more cached tokens than input": (
        "chat gpt-5",
        {**CHAT, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 6},
        {},
        "usage",
        "gen_ai.usage.input_tokens",
    ),
    "priced and unpriced": (
        "chat gpt-5",
        {**CHAT, "genledger.cost.unpriced": "no_rate", "genledger.cost.amount": 0.0},
        {},
        "cost",
        "genledger.cost.amount",
    ),
    "query text with capture off": (
        "query docs",
        {**QUERY, "gen_ai.retrieval.query.text": "why"},
        {},
        "content-captured",
        "gen_ai.retrieval.query.text",
    ),
}


@pytest.mark.parametrize("case", DEVIATING)
def test_one_deviation_is_found_as_the_only_one(make_span: MakeSpan, case: str) -> None:
    name, attributes, how, rule, attribute = DEVIATING[case]
    assert brief(check([make_span(name, attributes, **how)])) == [(rule, attribute)]


@pytest.mark.parametrize("outcome", ["timeout", "rate_limited", "error", "cancelled", "blocked"])
def test_a_failed_call_may_have_any_outcome_but_success(make_span: MakeSpan, outcome: str) -> None:
    span = make_span("chat gpt-5", {**FAILED, "genledger.outcome": outcome}, status=StatusCode.ERROR)
    assert check([span]) == []


@pytest.mark.parametrize("outcome", ["success", "cancelled", "blocked"])
def test_a_call_that_did_not_fail_was_a_success_or_stopped(make_span: MakeSpan, outcome: str) -> None:
    assert check([make_span("chat gpt-5", {**CHAT, "genledger.outcome": outcome})]) == []


def test_content_is_clean_when_capture_is_on(make_span: MakeSpan) -> None:
    span = make_span("chat gpt-5", {**CHAT, "gen_ai.input.messages": "[]", "gen_ai.prompt.variable.name": "Ann"})
    assert check([span], capture_content=True) == []


def test_content_that_does_not_fit_its_schema_is_found(make_span: MakeSpan) -> None:
    span = make_span("chat gpt-5", {**CHAT, "gen_ai.input.messages": '[{"role": "user", "content": "Hi"}]'})
    assert brief(check([span], capture_content=True)) == [("content-schema", "gen_ai.input.messages")]


def test_content_in_a_span_event_counts_as_captured(make_span: MakeSpan) -> None:
    span = make_span("chat gpt-5", CHAT, events={"note": {"gen_ai.output.messages": "[]"}})
    assert brief(check([span])) == [("content-captured", "gen_ai.output.messages")]


def test_an_exception_event_is_clean(make_span: MakeSpan) -> None:
    events = {"exception": {"exception.type": "E", "exception.message": "m", "exception.escaped": "False"}}
    assert check([make_span("chat gpt-5", FAILED, status=StatusCode.ERROR, events=events)]) == []


def test_spans_of_the_application_are_its_own_business(make_span: MakeSpan) -> None:
    span = make_span(
        "GET /",
        {"http.route": "/", "server.port": "not ours", "genledger.tenant.id": "acme", "error.type": "500"},
        scope="app",
        schema_url=None,
        status=StatusCode.OK,
    )
    assert check([span]) == []


@pytest.mark.parametrize(
    ("attribute", "value", "rule"),
    [
        ("gen_ai.completion", "text", "unknown-attribute"),
        ("genledger.tenant", "acme", "unknown-attribute"),
        ("genledger.tenant.id", 7, "attribute-type"),
        ("gen_ai.input.messages", "[]", "content-captured"),
    ],
)
def test_our_names_are_checked_on_spans_of_the_application(
    make_span: MakeSpan, attribute: str, value: object, rule: str
) -> None:
    assert brief(check([make_span("GET /", {attribute: value}, scope="app")])) == [(rule, attribute)]


def test_a_span_of_another_library_may_carry_names_of_its_own(make_span: MakeSpan) -> None:
    span = make_span("chat gpt-5", {**CHAT, "anthropic.request.id": "r"}, scope="anthropic", schema_url=None)
    assert check([span]) == []


def test_a_genai_span_of_another_library_keeps_the_same_rules(make_span: MakeSpan) -> None:
    attributes = {**CHAT, "server.port": "443", "gen_ai.system": "openai"}
    span = make_span("chat", attributes, scope="other", schema_url=None, status=StatusCode.OK)
    assert sorted(brief(check([span]))) == [
        ("attribute-type", "server.port"),
        ("span-name", None),
        ("status-ok", None),
        ("unknown-attribute", "gen_ai.system"),
    ]


def test_allowed_names_are_left_alone(make_span: MakeSpan) -> None:
    attributes = {**CHAT, "langfuse.trace.name": "t", "gen_ai.usage.cost": 0.1, "gen_ai.agent.name": "Math"}
    span = make_span("chat gpt-5", attributes)
    assert check([span], allow=["langfuse.*", "gen_ai.usage.cost", "gen_ai.agent.name"]) == []
    assert len(check([span])) == 3
