"""lm15, DSPy's own client: its names of providers, and how its calls fail; the contract suite has the rest."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from tests.contract.rows import anthropic_messages, openai_chat
from tests.contract.server import Reply, Server, json_reply, serving, sse
from tests.instrumentors.telemetry import Telemetry, instrumented

pytest.importorskip("dspy._vendor.lm15", reason="DSPy 3.4 has an environment of its own: make test-frameworks")

from dspy.clients.engines.lm15_engine import AsyncLM15Engine, LM15Engine
from dspy.lm15 import RouterConfig, Timeouts, request_from_openai_chat


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=["dspy"]) as telemetry:
        yield telemetry
        assert not telemetry.open.spans
        assert not telemetry.complaints.other


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def asked(model: str, **more: Any) -> Any:
    """A request to a model, given with its provider."""
    return request_from_openai_chat({"model": model, "messages": [{"role": "user", "content": "Hi"}], **more})


def config(url: str, provider: str = "openai-chat", **more: Any) -> Any:
    """Settings of an engine that asks a provider at a URL."""
    return RouterConfig(api_keys={provider: "k"}, base_urls={provider: url}, **more)


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("openai/gpt-4o", "openai-chat", "openai"),
        ("groq/llama-3.3-70b-versatile", "groq", "groq"),
        ("xai/grok-4", "xai", "x_ai"),
        ("deepseek/deepseek-chat", "deepseek", "deepseek"),
        ("moonshot/kimi-k2", "moonshotai", "moonshot_ai"),
        ("ollama/llama3.2", "ollama", "ollama"),
        ("openrouter/openai/gpt-4o", "openrouter", "openrouter"),
    ],
)
def test_providers_have_the_conventions_names(telemetry: Telemetry, model: str, provider: str, name: str) -> None:
    with DemoProvider() as demo:
        LM15Engine(config(demo.openai_url, provider)).complete(asked(model))
    assert telemetry.attributes["gen_ai.provider.name"] == name
    assert telemetry.attributes["gen_ai.request.model"] == model.partition("/")[2]


def test_a_cost_that_the_answer_reports_is_the_cost(telemetry: Telemetry, server: Server) -> None:
    server.will(openai_chat.whole("openai/gpt-4o", usage={**openai_chat.USAGE, "cost": 0.0076}))
    LM15Engine(config(f"{server.url}/api/v1", "openrouter")).complete(asked("openrouter/openai/gpt-4o"))
    assert telemetry.attributes["genledger.cost.amount"] == 0.0076


def read(engine: Any, request: Any) -> list[Any]:
    """Read a stream of either kind of engine to its end."""

    async def events() -> list[Any]:
        return [event async for event in engine.stream(request)]

    return list(engine.stream(request)) if isinstance(engine, LM15Engine) else asyncio.run(events())


def complete(engine: Any, request: Any) -> Any:
    """Ask either kind of engine for a whole answer."""

    async def answer() -> Any:
        return await engine.complete(request)

    return engine.complete(request) if isinstance(engine, LM15Engine) else asyncio.run(answer())


both = pytest.mark.parametrize("kind", [LM15Engine, AsyncLM15Engine], ids=["sync", "async"])


@both
def test_an_error_inside_a_stream_is_the_calls(telemetry: Telemetry, server: Server, kind: Any) -> None:
    begun = anthropic_messages.events()[:4]
    failed = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, named=True)
    server.will(Reply(200, "text/event-stream", (*begun, *failed)))
    engine = kind(config(f"{server.url}/v1", "anthropic"))
    with pytest.raises(Exception, match="Overloaded"):
        read(engine, asked("anthropic/claude-sonnet-4-5", max_tokens=99))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000


@both
def test_a_stream_that_the_provider_refuses_is_an_unbilled_error(
    telemetry: Telemetry, server: Server, kind: Any
) -> None:
    server.will(openai_chat.error(429))
    engine = kind(config(f"{server.url}/v1"))
    with pytest.raises(Exception, match="No:"):
        read(engine, asked("openai/gpt-4o"))
    assert telemetry.attributes["genledger.outcome"] == "rate_limited"
    assert "genledger.cost.amount" not in telemetry.attributes


@both
@pytest.mark.parametrize("parts", [0, 1], ids=["before", "within its answer"])
def test_a_request_that_times_out_is_lost_and_may_be_billed(
    telemetry: Telemetry, server: Server, kind: Any, parts: int
) -> None:
    server.will(replace(openai_chat.whole("gpt-4o"), body=(b"{",)[:parts], hangs=True))
    engine = kind(config(f"{server.url}/v1", timeouts=Timeouts(read=0.3)))
    with pytest.raises(Exception, match=r"."):
        complete(engine, asked("openai/gpt-4o"))
    assert telemetry.attributes["genledger.outcome"] == "timeout"
    assert telemetry.attributes["genledger.usage.estimated"] is True


@both
def test_a_request_that_never_left_costs_nothing(telemetry: Telemetry, kind: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Exception, match=r"."):
            complete(kind(config(url)), asked("openai/gpt-4o"))
    assert telemetry.attributes["genledger.outcome"] == "error"
    assert "genledger.cost.amount" not in telemetry.attributes


def test_requests_that_are_no_calls_are_not_recorded(telemetry: Telemetry, server: Server) -> None:
    server.will(json_reply({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]}))
    LM15Engine(config(f"{server.url}/v1")).router.lm("openai-chat:gpt-4o").list_models()
    assert len(server.requests) == 1
    assert telemetry.spans == ()
