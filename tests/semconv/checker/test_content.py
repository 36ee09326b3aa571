from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genledger_semconv.checker.content import check_content


def problem(name: str, value: Any, *, structured: bool = False) -> str | None:
    reported: list[str] = []

    def report(rule: str, message: str, attribute: str | None) -> None:
        assert (rule, attribute) == ("content-schema", name)
        reported.append(message)

    check_content(name, value, structured, report)
    assert len(reported) < 2
    return reported[0] if reported else None


def message(*parts: Any, **fields: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "parts": list(parts), **fields}]


VALID: list[tuple[str, Any]] = [
    ("gen_ai.input.messages", []),
    ("gen_ai.input.messages", message()),
    ("gen_ai.input.messages", message({"type": "text", "content": "Hello"}, name="Ann")),
    ("gen_ai.input.messages", message({"type": "text", "content": "Hello"}, name=None, extra=1)),
    ("gen_ai.input.messages", message({"type": "tool_call_response", "id": "c1", "response": {"sum": 3}})),
    ("gen_ai.input.messages", message({"type": "tool_call_response", "response": None})),
    (
        "gen_ai.input.messages",
        message({"type": "blob", "modality": "image", "content": "AA==", "mime_type": "image/png"}),
    ),
    ("gen_ai.input.messages", message({"type": "file", "modality": "document", "file_id": "f1"})),
    ("gen_ai.input.messages", message({"type": "uri", "modality": "video", "uri": "https://example.com/v"})),
    ("gen_ai.input.messages", message({"type": "refusal", "anything": [1]})),
    (
        "gen_ai.output.messages",
        message({"type": "tool_call", "id": "c1", "name": "add", "arguments": {"a": 1}}),
    ),
    ("gen_ai.output.messages", message({"type": "tool_call", "name": "add"})),
    ("gen_ai.output.messages", message({"type": "reasoning", "content": "so"}, finish_reason="stop")),
    ("gen_ai.output.messages", message({"type": "compaction"})),
    (
        "gen_ai.output.messages",
        message(
            {
                "type": "server_tool_call",
                "id": "s1",
                "name": "search",
                "server_tool_call": {"type": "web_search"},
            },
            {
                "type": "server_tool_call_response",
                "id": "s1",
                "server_tool_call_response": {"type": "web_search"},
            },
        ),
    ),
    ("gen_ai.system_instructions", [{"type": "text", "content": "Be brief"}, {"type": "generic"}]),
    ("gen_ai.tool.definitions", [{"type": "function", "name": "add", "parameters": {"type": "object"}}]),
    ("gen_ai.tool.definitions", [{"type": "web_search", "name": "search", "parameters": 5}]),
    ("gen_ai.tool.call.arguments", {"a": 1}),
    ("gen_ai.tool.call.result", {}),
    ("gen_ai.retrieval.documents", [{"id": "d1", "score": 0.5, "title": "T"}, {}]),
    ("gen_ai.memory.records", [{"content": "likes tea", "id": "m1", "metadata": {}, "score": 1}]),
]

INVALID: list[tuple[str, Any, str]] = [
    ("gen_ai.input.messages", {"role": "user"}, "it must be an array"),
    ("gen_ai.input.messages", ["Hello"], "it[0] must be an object"),
    ("gen_ai.input.messages", [{"parts": []}], "it[0] has no 'role'"),
    ("gen_ai.input.messages", [{"role": "user", "content": "Hello"}], "it[0] has no 'parts'"),
    ("gen_ai.input.messages", [{"role": "user", "parts": "Hello"}], "it[0].parts must be an array"),
    ("gen_ai.input.messages", message({"content": "Hello"}), "it[0].parts[0] has no 'type'"),
    ("gen_ai.input.messages", message({"type": "text", "text": "Hello"}), "it[0].parts[0] has no 'content'"),
    (
        "gen_ai.input.messages",
        message({"type": "text", "content": "a"}, {"type": "text", "content": None}),
        "it[0].parts[1].content must be a string",
    ),
    (
        "gen_ai.input.messages",
        message({"type": "tool_call_response", "id": "c1", "result": 3}),
        "it[0].parts[0] has no 'response'",
    ),
    (
        "gen_ai.input.messages",
        message({"type": "blob", "content": "AA=="}),
        "it[0].parts[0] has no 'modality'",
    ),
    (
        "gen_ai.input.messages",
        message({"type": "file", "modality": "image"}),
        "it[0].parts[0] has no 'file_id'",
    ),
    ("gen_ai.input.messages", message({"type": "uri", "modality": "image"}), "it[0].parts[0] has no 'uri'"),
    ("gen_ai.input.messages", message(name=5), "it[0].name must be a string"),
    ("gen_ai.output.messages", message({"type": "tool_call", "id": "c1"}), "it[0].parts[0] has no 'name'"),
    (
        "gen_ai.output.messages",
        message({"type": "tool_call", "name": "add", "id": 5}),
        "it[0].parts[0].id must be a string",
    ),
    (
        "gen_ai.output.messages",
        message({"type": "server_tool_call", "name": "search", "server_tool_call": {}}),
        "it[0].parts[0].server_tool_call has no 'type'",
    ),
    ("gen_ai.output.messages", message(finish_reason=["stop"]), "it[0].finish_reason must be a string"),
    ("gen_ai.output.messages", message({"type": "reasoning"}), "it[0].parts[0] has no 'content'"),
    (
        "gen_ai.system_instructions",
        [{"type": "reasoning", "content": "so"}],
        "it[0] must be a text or generic part, not 'reasoning'",
    ),
    ("gen_ai.tool.definitions", [{"type": "function"}], "it[0] has no 'name'"),
    (
        "gen_ai.tool.definitions",
        [{"type": "function", "name": "add", "parameters": "{}"}],
        "it[0].parameters must be an object",
    ),
    ("gen_ai.tool.call.arguments", [1], "it must be an object"),
    ("gen_ai.tool.call.result", 3, "it must be an object"),
    ("gen_ai.retrieval.documents", [{"score": "high"}], "it[0].score must be a number"),
    ("gen_ai.memory.records", [{"id": "m1"}], "it[0] has no 'content'"),
]


@pytest.mark.parametrize(("name", "value"), VALID)
def test_content_that_fits_its_schema_is_clean(name: str, value: Any) -> None:
    assert problem(name, value, structured=True) is None
    assert problem(name, json.dumps(value)) is None


@pytest.mark.parametrize(("name", "value", "expected"), INVALID)
def test_content_that_does_not_fit_is_found_with_its_place(name: str, value: Any, expected: str) -> None:
    assert problem(name, value, structured=True) == expected
    assert problem(name, json.dumps(value)) == expected


def test_a_string_that_is_not_json_is_found() -> None:
    assert (problem("gen_ai.input.messages", '[{"role": "us') or "").startswith("is not JSON")


def test_json_in_a_string_is_not_enough_where_content_must_be_structured() -> None:
    assert problem("gen_ai.input.messages", "[]", structured=True) == "must be structured here, not JSON in a string"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "parts", "type", "content", "id", "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=anything)
@pytest.mark.parametrize("name", sorted({name for name, _ in VALID}))
def test_any_json_is_judged_without_an_exception(name: str, value: Any) -> None:
    said = problem(name, value, structured=not isinstance(value, str))
    assert said is None or said.startswith(("it", "is not JSON"))
