"""LiveKit Agents, which record their own work: their steps are ours, and a refusal ends a turn."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking_async,
    assert_billed_once,
    cancelled,
    errors,
    is_open,
    is_step_or_call,
    outcomes,
    tree,
)
from tests.instrumentors.telemetry import Telemetry

import genledger

pytest.importorskip("livekit.agents", reason="livekit-agents has an environment of its own: make test-frameworks")

from livekit.agents import Agent, AgentSession, APIConnectOptions, function_tool
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins.openai import LLM

record = partial(native, libraries=["openai", "livekit-agents"])

CALL = """\
    llm_request
      chat gpt-4.1-mini
"""

TREE = f"""\
invoke_workflow agent_session
  invoke_agent forecaster
{CALL}\
    execute_tool weather
{CALL}\
"""


def kept(span: ReadableSpan) -> bool:
    """Whether a span is a step or a call: the session also says that it makes its agent."""
    return is_step_or_call(span) and span.name != "start_agent_activity"


async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


async def broken(city: str) -> str:
    """Fail."""
    raise ValueError("the tool's own")


class Forecaster(Agent):
    """Answers with what its tool says."""

    def __init__(self, tool: Any) -> None:
        super().__init__(instructions="Answer in one sentence.", tools=[function_tool(tool, name="weather")])


async def ask(provider: DemoProvider, tool: Any = weather, turns: int = 1, **options: Any) -> list[Any]:
    """What happened in the last turn of a session of its own; LiveKit makes its span current in the task."""
    return await asyncio.create_task(_session(provider, tool, turns, options))


async def _session(provider: DemoProvider, tool: Any, turns: int, options: dict[str, Any]) -> list[Any]:
    events: list[Any] = []
    client = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0)
    async with client, AgentSession(llm=LLM(model="gpt-4.1-mini", client=client), **options) as session:
        await session.start(Forecaster(tool))
        for _ in range(turns):
            events = (await session.run(user_input=QUESTION)).events
    return events


async def _at_once(provider: DemoProvider, times: int) -> None:
    await asyncio.gather(*(ask(provider) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, TREE, kept=kept)


async def test_turns_of_a_session_are_agents_of_one_workflow(telemetry: Telemetry, provider: DemoProvider) -> None:
    events = await ask(provider, turns=2)
    assert events[-1].item.text_content == "It is sunny in Paris."
    turn = TREE.partition("\n")[2]
    assert tree(telemetry.spans, kept=kept) == TREE + turn
    assert_billed_once(telemetry, provider)


async def test_what_a_tool_asks_is_inside_of_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    await ask(provider, asking_async(provider))
    assert "    execute_tool weather\n      chat gpt-4.1-mini\n" in tree(telemetry.spans, kept=kept)
    assert telemetry.attributes_of("invoke_agent forecaster")["genledger.total.calls"] == 3
    assert_billed_once(telemetry, provider)


async def test_an_error_of_a_tool_is_on_its_step(telemetry: Telemetry, provider: DemoProvider) -> None:
    await ask(provider, broken)
    assert set(errors(telemetry)) == {"execute_tool weather"}
    assert_billed_once(telemetry, provider)


async def test_each_attempt_at_a_failing_model_is_a_call(telemetry: Telemetry) -> None:
    once = SessionConnectOptions(llm_conn_options=APIConnectOptions(max_retry=1, retry_interval=0.01))
    failing = DemoProvider(faults=[Fault("Paris", 500, times=2)])
    with failing as provider, pytest.raises(Exception, match="after 2 attempts"):
        await ask(provider, conn_options=once)
    assert outcomes(telemetry) == ["error", "error"]
    assert "error.type" in telemetry.attributes_of("invoke_agent forecaster")


async def test_a_session_that_is_cancelled_midway_leaves_nothing_open(telemetry: Telemetry) -> None:
    with DemoProvider(latency=0.5) as provider:  # LiveKit waits for tools to end
        await cancelled(ask(provider), is_open(telemetry, "chat gpt-4.1-mini"))
    assert set(outcomes(telemetry)) <= {"cancelled", "success"}


async def test_a_refusal_ends_the_turn_at_once_under_its_own_name(refused: Telemetry, provider: DemoProvider) -> None:
    with pytest.raises(genledger.BudgetExceeded):
        await ask(provider)
    assert outcomes(refused) == ["success", "blocked"]


async def test_what_is_refused_in_a_tool_reaches_the_application_from_the_next_call(
    refused: Telemetry, provider: DemoProvider
) -> None:
    with pytest.raises(genledger.BudgetExceeded):
        await ask(provider, asking_async(provider))
    assert outcomes(refused) == ["success", "blocked", "blocked"]
