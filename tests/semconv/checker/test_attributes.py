from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from genledger_semconv.checker import check

MakeSpan = Callable[..., ReadableSpan]

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "opus"}

Case = tuple[str, dict[str, Any], dict[str, Any], str, str | None]

DEVIATING: dict[str, Case] = {
    "unknown GenAI attribute": (
        "chat opus",
        {**CHAT, "gen_ai.usage.cost": 0.1},
        {},
        "unknown-attribute",
        "gen_ai.usage.cost",
    ),
    "stale GenAI attribute": (
        "chat opus",
        {**CHAT, "gen_ai.system": "openai"},
        {},
        "unknown-attribute",
        "gen_ai.system",
    ),
    "unknown attribute of no namespace on a span of ours": (
        "chat opus",
        {**CHAT, "llm.model": "opus"},
        {},
        "unknown-attribute",
        "llm.model",
    ),
    "metric dimension on a span": (
        "chat opus",
        {**CHAT, "gen_ai.token.modality": "text"},
        {},
        "undeclared-attribute",
        "gen_ai.token.modality",
    ),
    "provider on an agent in this process": (
        "invoke_agent Math",
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "Math",
            "gen_ai.provider.name": "openai",
        },
        {"kind": SpanKind.INTERNAL},
        "undeclared-attribute",
        "gen_ai.provider.name",
    ),
    "agent id on an agent in this process": (
        "invoke_agent",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "0x7f"},
        {"kind": SpanKind.INTERNAL},
        "undeclared-attribute",
        "gen_ai.agent.id",
    ),
    "agent version on an agent in this process": (
        "invoke_agent",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.version": "2"},
        {"kind": SpanKind.INTERNAL},
        "undeclared-attribute",
        "gen_ai.agent.version",
    ),
    "cache usage on an agent in this process": (
        "invoke_agent",
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.cache_read.input_tokens": 1},
        {"kind": SpanKind.INTERNAL},
        "undeclared-attribute",
        "gen_ai.usage.cache_read.input_tokens",
    ),
    "usage on a fetched response": (
        "fetch_response",
        {
            "gen_ai.operation.name": "fetch_response",
            "gen_ai.provider.name": "openai",
            "gen_ai.response.id": "r1",
            "gen_ai.usage.input_tokens": 1,
        },
        {},
        "undeclared-attribute",
        "gen_ai.usage.input_tokens",
    ),
    "int for a double": (
        "chat opus",
        {**CHAT, "gen_ai.request.temperature": 0},
        {},
        "attribute-type",
        "gen_ai.request.temperature",
    ),
    "double for an int": (
        "chat opus",
        {**CHAT, "gen_ai.request.max_tokens": 10.0},
        {},
        "attribute-type",
        "gen_ai.request.max_tokens",
    ),
    "boolean for an int": (
        "chat opus",
        {**CHAT, "gen_ai.request.seed": True},
        {},
        "attribute-type",
        "gen_ai.request.seed",
    ),
    "string for a boolean": (
        "chat opus",
        {**CHAT, "gen_ai.request.stream": "true"},
        {},
        "attribute-type",
        "gen_ai.request.stream",
    ),
    "string for strings": (
        "chat opus",
        {**CHAT, "gen_ai.response.finish_reasons": "stop"},
        {},
        "attribute-type",
        "gen_ai.response.finish_reasons",
    ),
    "numbers for strings": (
        "chat opus",
        {**CHAT, "genledger.retry.causes": [429]},
        {},
        "attribute-type",
        "genledger.retry.causes",
    ),
    "boolean for a number": (
        "chat opus",
        {**CHAT, "genledger.usage.web_search": True},
        {},
        "attribute-type",
        "genledger.usage.web_search",
    ),
    "list for a metadata value": (
        "chat opus",
        {**CHAT, "genledger.metadata.plan": ["pro"]},
        {},
        "attribute-type",
        "genledger.metadata.plan",
    ),
    "operation that nobody declared": (
        "haiku opus",
        {**CHAT, "gen_ai.operation.name": "haiku"},
        {},
        "attribute-value",
        "gen_ai.operation.name",
    ),
    "outcome that nobody declared": (
        "chat opus",
        {**CHAT, "genledger.outcome": "fine"},
        {},
        "attribute-value",
        "genledger.outcome",
    ),
    "stream set to false": (
        "chat opus",
        {**CHAT, "gen_ai.request.stream": False},
        {},
        "attribute-value",
        "gen_ai.request.stream",
    ),
    "batch of one": (
        "chroma",
        {"db.system.name": "chroma", "db.operation.batch.size": 1},
        {},
        "attribute-value",
        "db.operation.batch.size",
    ),
    "no provider": (
        "chat opus",
        {"gen_ai.operation.name": "chat", "gen_ai.request.model": "opus"},
        {},
        "required-attribute",
        "gen_ai.provider.name",
    ),
    "no port beside the address": (
        "chat opus",
        {**CHAT, "server.address": "localhost"},
        {},
        "required-attribute",
        "server.port",
    ),
    "no tool name": (
        "execute_tool",
        {"gen_ai.operation.name": "execute_tool"},
        {"kind": SpanKind.INTERNAL},
        "required-attribute",
        "gen_ai.tool.name",
    ),
    "our scope without a schema URL": ("chat opus", CHAT, {"schema_url": None}, "schema-url", None),
    "an instrumentor's scope with a core schema URL": (
        "chat opus",
        CHAT,
        {"scope": "genledger_instrumentors.openai", "schema_url": "https://opentelemetry.io/schemas/1.37.0"},
        "schema-url",
        None,
    ),
    "content with capture off": (
        "chat opus",
        {**CHAT, "gen_ai.input.messages": "[]"},
        {},
        "content-captured",
        "gen_ai.input.messages",
    ),
    "prompt variable with capture off": (
        "chat opus",
        {**CHAT, "gen_ai.prompt.variable.name": "Ann"},
        {},
        "content-captured",
        "gen_ai.prompt.variable.name",
    ),
}


@pytest.mark.parametrize("case", DEVIATING)
def test_one_deviation_is_found_as_the_only_one(make_span: MakeSpan, case: str) -> None:
    name, attributes, how, rule, attribute = DEVIATING[case]
    found = check([make_span(name, attributes, **how)])
    assert [(deviation.rule, deviation.attribute) for deviation in found] == [(rule, attribute)]
