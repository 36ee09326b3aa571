"""Strands, which records its own work: its steps are ours, its sums are aggregates, every call is priced once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION, REPLIES
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import billed, cost_shown, nothing_left, shown, traces, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of

import genledger
from genledger.budgets import budget

pytest.importorskip("strands", reason="strands-agents has an environment of its own: make test-frameworks")

from strands import Agent, tool
from strands.models.openai import OpenAIModel
from strands.types.exceptions import EventLoopException

TREE = """\
invoke_agent forecaster
  execute_event_loop_cycle
    chat
      chat gpt-4.1-mini
    execute_tool weather
  execute_event_loop_cycle
    chat
      chat gpt-4.1-mini
"""
"""What the application's own exporters see: cycles are hidden from our destinations only."""


@tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return f"sunny in {city}"


@tool
def broken(city: str) -> str:
    """Fail."""
    raise LookupError(city)


def agent(provider: DemoProvider, tool: Any = weather) -> Any:
    """An agent that calls a tool, and then answers."""
    arguments = {"base_url": provider.openai_url, "api_key": "k"}
    model = OpenAIModel(client_args=arguments, model_id="gpt-4.1-mini")
    return Agent(model=model, tools=[tool], name="forecaster", callback_handler=None)


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies=REPLIES) as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with native() as telemetry, nothing_left(telemetry):
        yield telemetry


async def stream(agent: Any) -> None:
    """Run an agent, and read its events as they come."""
    async for _ in agent.stream_async(QUESTION):
        pass


def in_thread(act: Callable[[], Any]) -> Any:
    """Run something in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(act).result()


WAYS: dict[str, Callable[[Any], Any]] = {
    "call": lambda agent: agent(QUESTION),
    "invoke_async": lambda agent: asyncio.run(agent.invoke_async(QUESTION)),
    "stream_async": lambda agent: asyncio.run(stream(agent)),
    "in a thread": lambda agent: in_thread(lambda: agent(QUESTION)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    before = get_current()
    with genledger.attribution(tenant="acme"):
        WAYS[way](agent(provider))
    assert get_current() is before
    assert tree(telemetry.spans) == TREE
    assert shown(telemetry.spans) == billed(provider)
    assert cost_shown(telemetry.spans) > 0
    if way != "in a thread":
        assert {attributes_of(span).get("genledger.tenant.id") for span in telemetry.spans} == {"acme"}
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert run["gen_ai.aggregated_usage.input_tokens"] == billed(provider).input
    assert run["gen_ai.provider.name"] == "openai"


def test_agents_in_parallel_have_their_own_calls(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(agent(provider).invoke_async(QUESTION) for _ in range(3)))

    asyncio.run(all_at_once())
    assert traces(telemetry.spans) == 3
    for trace in {span.context.trace_id for span in telemetry.spans if span.context}:
        assert tree(span for span in telemetry.spans if span.context and span.context.trace_id == trace) == TREE
    assert shown(telemetry.spans) == billed(provider)


def test_a_tool_that_fails_is_an_error(telemetry: Telemetry, provider: DemoProvider) -> None:
    agent(provider, broken)(QUESTION)
    (failed,) = [span for span in telemetry.spans if span.name == "execute_tool broken"]
    assert not failed.status.is_unset
    assert shown(telemetry.spans) == billed(provider)


def test_a_run_that_is_cancelled_ends_as_strands_ends_it(provider: DemoProvider) -> None:
    async def cancelled() -> None:
        reached = asyncio.Event()

        @tool
        async def slow(city: str) -> str:
            """Wait."""
            reached.set()
            await asyncio.sleep(3600)
            return city

        run = asyncio.create_task(agent(provider, slow).invoke_async(QUESTION))
        await reached.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    with native() as telemetry:
        asyncio.run(cancelled())
        assert shown(telemetry.spans) == billed(provider)
        # The spans around it, Strands itself leaves open.
        assert set(telemetry.open.spans.values()) <= {"execute_tool slow", "execute_event_loop_cycle"}
        assert not telemetry.complaints.other


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider, way: str) -> None:
    with native(budgets=[budget(steps=1, per="run")], budget_store="memory:") as telemetry:
        with pytest.raises(EventLoopException) as raised:  # what Strands makes of every error of a model
            WAYS[way](agent(provider))
        assert isinstance(raised.value.__cause__, genledger.BudgetExceeded)
        assert len(provider.requests) == 1
        assert not telemetry.open.spans


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider) -> None:
    with native() as telemetry:
        agent(provider)(QUESTION)
        count = len(telemetry.spans)
    agent(provider)(QUESTION)
    assert len(telemetry.spans) == count == 8
