"""Langfuse is sent messages in OpenAI's chat shape: it merges tools into the input, and reads that as OpenAI's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from genledger.destinations.langfuse.chat_messages import chat_messages

from ....instrumentors import anthropic_format, openai_format
from ....instrumentors.provider import Provider, answer
from ....instrumentors.telemetry import instrumented


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (text("hi"), "hi"),
        (
            {"type": "uri", "modality": "image", "uri": "https://x.test/a.png"},
            [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
        ),
        (
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "QUJD"},
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}],
        ),
        (
            {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": "QUJD"},
            [{"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}}],
        ),
        (
            {"type": "uri", "modality": "image", "uri": "sha256:e163", "size": 3, "mime_type": "image/png"},
            "[image/png, 3 bytes, sha256:e163]",
        ),
        (
            {"type": "uri", "modality": "document", "uri": "https://x.test/a.pdf"},
            [{"type": "file", "file": {"file_url": "https://x.test/a.pdf"}}],
        ),
        ({"type": "file", "modality": "document", "file_id": "f1"}, [{"type": "file", "file": {"file_id": "f1"}}]),
        ({"type": "search_result", "title": "t"}, [{"type": "search_result", "title": "t"}]),
        ("hi", "hi"),
    ],
)
def test_each_part_has_its_form(part: Any, content: Any) -> None:
    assert chat_messages([user(part)]) == [{"role": "user", "content": content}]


def test_several_parts_are_a_list() -> None:
    image = {"type": "uri", "modality": "image", "uri": "https://x.test/a.png"}
    assert chat_messages([user(text("what is"), image)]) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
            ],
        }
    ]


def test_tool_calls_and_their_results() -> None:
    calls = {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "I need the weather"},
            {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}},
            {"type": "tool_call", "id": "c2", "name": "time", "arguments": None},
        ],
        "finish_reason": "tool_call",
    }
    results = user(
        {"type": "tool_call_response", "id": "c1", "response": "sunny"},
        {"type": "tool_call_response", "id": "c2", "response": {"hour": 9}},
        text("go on"),
    )
    assert chat_messages([calls, results]) == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I need the weather",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                {"id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": '{"hour":9}'},
        {"role": "user", "content": "go on"},
    ]


def test_instructions_come_first_unless_there_is_a_system_message() -> None:
    asked = {"role": "user", "content": "hi"}
    assert chat_messages([user(text("hi"))], [text("be kind")]) == [{"role": "system", "content": "be kind"}, asked]
    told = {"role": "system", "parts": [text("be brief")]}
    assert chat_messages([told, user(text("hi"))], [text("be kind")]) == [
        {"role": "system", "content": "be brief"},
        asked,
    ]


@pytest.mark.parametrize("value", [None, "text", {"a": 1}, [1, "a", {"role": "user", "content": "hi"}, None], [[]]])
def test_what_is_in_another_shape_is_left_as_it_is(value: Any) -> None:
    assert chat_messages(value) == value


def asked_with_tools(langfuse_server: Any, client: str) -> tuple[Any, Any]:
    """Ask with tools and content on; return what went to Langfuse and what is on the span."""
    openai = client == "openai"
    reply = openai_format.chat() if openai else anthropic_format.message(anthropic_format.tool_use())
    with instrumented(capture_content=True, destinations=["langfuse"], spool="off") as telemetry:
        provider = Provider(asynchronous=False)
        provider.will(answer(reply))
        messages: Any = [{"role": "user", "content": "What is the weather?"}]
        tool = {"name": "weather", "description": "d"}
        if openai:
            provider.openai().chat.completions.create(
                model="gpt-4o", messages=messages, tools=[{"type": "function", "function": tool}]
            )
        else:
            provider.anthropic().messages.create(
                model="claude-opus-4-6", max_tokens=10, messages=messages, tools=[{**tool, "input_schema": {}}]
            )
        span = telemetry.attributes
    (sent,) = langfuse_server.spans()
    return sent, span


@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_a_call_with_tools_reads_as_openais_while_the_span_keeps_the_conventions_shape(
    langfuse_server: Any, client: str
) -> None:
    sent, span = asked_with_tools(langfuse_server, client)
    messages = json.loads(sent.attributes["langfuse.observation.input"])
    assert messages[-1] == {"role": "user", "content": "What is the weather?"}
    generated = json.loads(sent.attributes["langfuse.observation.output"])
    assert generated["role"] == "assistant"
    assert "parts" not in sent.attributes["langfuse.observation.input"]
    assert "gen_ai.tool.definitions" in sent.attributes, "Langfuse takes the tools from here"
    assert json.loads(span["gen_ai.input.messages"])[-1]["parts"] == [text("What is the weather?")]
    if client == "anthropic":
        (call,) = generated["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == anthropic_format.tool_use()["input"]
