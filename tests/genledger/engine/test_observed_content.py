"""Arguments and results of observed functions, where content is captured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import genledger
from genledger_semconv.checker import assert_clean

from ...instrumentors.telemetry import Telemetry, instrumented

KEY = "sk-proj-" + "a1B2" * 12


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(capture_content=True) as telemetry:
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)
        assert not telemetry.open.spans


def content(telemetry: Telemetry) -> dict[str, Any]:
    """What the one span says was given and returned."""
    found = {}
    for name, value in telemetry.attributes.items():
        if name.rpartition(".")[2] in ("arguments", "result", "messages", "text", "documents"):
            assert isinstance(value, str)
            found[name] = value if name.endswith("text") or value[:1] not in "[{" else json.loads(value)
    return found


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "tool",
            {
                "gen_ai.tool.call.arguments": {"city": "Paris", "days": 2},
                "gen_ai.tool.call.result": {"result": ["sunny"]},
            },
        ),
        (
            "agent",
            {
                "gen_ai.input.messages": [said("user", "Paris")],
                "gen_ai.output.messages": [said("assistant", '["sunny"]') | {"finish_reason": "stop"}],
            },
        ),
        (
            "workflow",
            {
                "gen_ai.input.messages": [said("user", "Paris")],
                "gen_ai.output.messages": [said("assistant", '["sunny"]') | {"finish_reason": "stop"}],
            },
        ),
        (
            "retrieval",
            {"gen_ai.retrieval.query.text": "Paris", "gen_ai.retrieval.documents": [{"content": "sunny"}]},
        ),
        (
            "task",
            {"genledger.task.arguments": {"city": "Paris", "days": 2}, "genledger.task.result": {"result": ["sunny"]}},
        ),
    ],
)
def test_each_kind_has_arguments_and_result_in_the_conventions_attributes(
    telemetry: Telemetry, kind: Any, expected: dict[str, Any]
) -> None:
    @genledger.observe(kind=kind)
    def forecast(city: str, days: int = 1) -> list[str]:
        return ["sunny"]

    assert forecast("Paris", days=2) == ["sunny"]
    assert content(telemetry) == expected


def test_nothing_is_captured_unless_content_is_on() -> None:
    @genledger.observe(kind="tool")
    def lookup(city: str) -> str:
        return "sunny"

    for off in ({}, {"capture_content": "event"}):
        with instrumented(**off) as telemetry:
            lookup("Paris")
            assert content(telemetry) == {}


def test_it_is_redacted_and_bounded(telemetry: Telemetry) -> None:
    @genledger.observe(kind="tool")
    def lookup(key: str, text: str) -> str:
        return f"{key} {text}"

    lookup(KEY, "x" * 1_000_000)
    for name in ("arguments", "result"):
        value = telemetry.attributes[f"gen_ai.tool.call.{name}"]
        assert isinstance(value, str)
        assert KEY not in value
        assert "[key]" in value
        assert len(value) <= 64 * 1024
        json.loads(value)


async def test_coroutines_methods_and_generators(telemetry: Telemetry) -> None:
    class Service:
        @genledger.observe
        async def ask(self, question: str) -> dict[str, int]:
            return {"answer": 42}

        @genledger.observe
        def stream(self, *parts: str) -> Iterator[str]:
            yield from parts

        @genledger.observe
        async def astream(self, **parts: str) -> AsyncIterator[Any]:
            for part in parts.values():
                yield part
            yield 7

    service = Service()
    await service.ask("why?")
    assert list(service.stream("a", "b")) == ["a", "b"]
    assert [part async for part in service.astream(x="c", y="d")] == ["c", "d", 7]
    written = [
        (span.attributes["genledger.task.arguments"], span.attributes["genledger.task.result"])  # type: ignore[index]
        for span in telemetry.spans
    ]
    assert written == [
        ('{"question":"why?"}', '{"answer":42}'),
        ('{"parts":["a","b"]}', '{"result":"ab"}'),
        ('{"parts":{"x":"c","y":"d"}}', '{"result":"cd"}'),
    ]


@pytest.mark.parametrize("result", [None, 0, False, "", [], {}, 2**70, float("nan"), b"\x00", object(), "\ud800"])
def test_whatever_is_returned_reaches_the_caller(telemetry: Telemetry, result: Any) -> None:
    for kind in ("tool", "agent", "retrieval", "task"):

        @genledger.observe(kind=kind)  # type: ignore[arg-type]
        def run(given: Any) -> Any:
            return given

        assert run(result) is result
    assert telemetry.complaints.texts == []


def test_what_is_wrong_with_an_argument_is_the_applications_alone(telemetry: Telemetry) -> None:
    @genledger.observe(kind="tool")
    def lookup(city: str) -> str:
        return city

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        lookup()  # type: ignore[call-arg]
    assert telemetry.attributes["error.type"] == "TypeError"


def test_an_observed_function_returns_its_result_although_recording_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("a fault of our own")

    @genledger.observe("answer")
    def answer() -> str:
        monkeypatch.setattr("genledger.engine.steps.active", broken)
        return "Paris."

    with instrumented(capture_content="span"):
        try:
            assert answer() == "Paris."
        finally:
            monkeypatch.undo()
