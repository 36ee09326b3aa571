"""Strands, which records its own work: its steps are ours, its sums are aggregates, every call is priced once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    billed,
    broken,
    cancelled,
    in_thread,
    is_open,
    refusing,
    slow,
    together,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger

pytest.importorskip("strands", reason="strands-agents has an environment of its own: make test-frameworks")

from strands import Agent
from strands import tool as decorated
from strands.models.openai import OpenAIModel
from strands.types.exceptions import EventLoopException

record = native

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


def agent(provider: DemoProvider, tool: Any = weather) -> Any:
    """An agent that calls a tool, and then answers."""
    arguments = {"base_url": provider.openai_url, "api_key": "k"}
    model = OpenAIModel(client_args=arguments, model_id="gpt-4.1-mini")
    return Agent(model=model, tools=[decorated(tool)], name="forecaster", callback_handler=None)


async def stream(agent: Any) -> None:
    """Run an agent, and read its events as they come: in Strands' own context."""
    async for _ in agent.stream_async(QUESTION):
        pass


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(agent(provider).invoke_async(QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, TREE, stream=lambda provider: stream(agent(provider)), alone=instrumented)


WAYS: dict[str, Callable[[Any], Any]] = {
    "call": lambda agent: agent(QUESTION),
    "invoke_async": lambda agent: asyncio.run(agent.invoke_async(QUESTION)),
    "stream_async": lambda agent: asyncio.run(stream(agent)),
    "in a thread": lambda agent: in_thread(lambda: agent(QUESTION)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](agent(provider))
    assert tree(telemetry.spans) == TREE
    assert_billed_once(telemetry, provider)
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert run["gen_ai.aggregated_usage.input_tokens"] == billed(provider).input
    assert run["gen_ai.provider.name"] == "openai"


def test_a_tool_that_fails_is_an_error(telemetry: Telemetry, provider: DemoProvider) -> None:
    agent(provider, broken)(QUESTION)
    (failed,) = [span for span in telemetry.spans if span.name == "execute_tool broken"]
    assert not failed.status.is_unset
    assert_billed_once(telemetry, provider)


def test_a_run_that_is_cancelled_ends_as_strands_ends_it(provider: DemoProvider) -> None:
    with record() as telemetry:
        asyncio.run(cancelled(agent(provider, slow).invoke_async(QUESTION), is_open(telemetry, "execute_tool slow")))
        assert_billed_once(telemetry, provider)
        # The spans around it, Strands itself leaves open.
        assert set(telemetry.open.spans.values()) <= {
            *("execute_tool slow", "execute_event_loop_cycle", "invoke_agent forecaster")
        }
        assert not telemetry.complaints.other


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider, way: str) -> None:
    with refusing(record, steps=1, per="run"):
        with pytest.raises(EventLoopException) as raised:  # what Strands makes of every error of a model
            WAYS[way](agent(provider))
        assert isinstance(raised.value.__cause__, genledger.BudgetExceeded)
        assert len(provider.requests) == 1
