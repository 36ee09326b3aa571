"""AutoGen: runs of teams around its agents' own spans, and a budget's refusal ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION, REPLIES
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking_async,
    assert_billed_once,
    broken,
    cancelled,
    is_step_or_call,
    outcomes,
    read,
    refusing,
    together,
    traces,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger

pytest.importorskip("autogen_agentchat", reason="autogen has an environment of its own: make test-frameworks")

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

LIBRARIES = ["openai", "autogen"]

record = partial(native, libraries=LIBRARIES)

alone = partial(instrumented, libraries=LIBRARIES)
"""Where nobody listens to the framework's own spans."""

RUN = """\
invoke_agent forecaster
  chat gpt-4.1-mini
  execute_tool weather
  chat gpt-4.1-mini
"""

TEAM = """\
invoke_workflow newsroom
  invoke_agent forecaster
    chat gpt-4.1-mini
    execute_tool weather
    chat gpt-4.1-mini
  invoke_agent editor
    chat gpt-4.1-mini
"""


@asynccontextmanager
async def an_agent(provider: DemoProvider, tool: Any = weather) -> AsyncIterator[Any]:
    """An agent of AutoGen, whose connections are closed at the end."""
    model = OpenAIChatCompletionClient(model="gpt-4.1-mini", base_url=provider.openai_url, api_key="k", max_retries=0)
    try:
        yield AssistantAgent("forecaster", model, tools=[tool], description="Knows.", reflect_on_tool_use=True)
    finally:
        await model.close()


@asynccontextmanager
async def a_team(provider: DemoProvider, tool: Any = weather) -> AsyncIterator[Any]:
    """A team of two agents, one of which has a tool."""
    async with an_agent(provider, tool) as forecaster:
        editor = AssistantAgent("editor", forecaster._model_client)
        yield RoundRobinGroupChat([forecaster, editor], name="newsroom", termination_condition=MaxMessageTermination(3))


def is_run(span: ReadableSpan) -> bool:
    """Return whether a span is no plumbing; that an agent was made is no part of its run."""
    return is_step_or_call(span) and not span.name.startswith("create_agent")


async def _at_once(provider: DemoProvider, times: int) -> None:
    async with AsyncExitStack() as teams:
        made = [await teams.enter_async_context(a_team(provider)) for _ in range(times)]
        await together(*(team.run(task=QUESTION) for team in made))


FRAMEWORK = Framework(record, _at_once, TEAM, is_run)


async def _whole(runnable: Any) -> None:
    await runnable.run(task=QUESTION)


async def _streamed(runnable: Any) -> None:
    await read(runnable.run_stream(task=QUESTION))


WAYS = {"run": _whole, "run_stream": _streamed}


@pytest.mark.parametrize("way", WAYS)
async def test_an_agent_has_its_tree_however_it_is_called(
    telemetry: Telemetry, provider: DemoProvider, way: str
) -> None:
    before = get_current()
    async with an_agent(provider) as agent:
        await WAYS[way](agent)
    assert get_current() is before
    assert tree(telemetry.spans, kept=is_run) == RUN
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("plumbing", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_a_team_is_one_trace_however_it_is_called(
    telemetry: Telemetry, provider: DemoProvider, way: str, plumbing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOGEN_DISABLE_RUNTIME_TRACING", str(not plumbing).lower())
    before = get_current()
    async with a_team(provider) as team:
        await WAYS[way](team)
    assert get_current() is before
    assert tree(telemetry.spans, kept=is_run) == TEAM
    assert traces(filter(is_run, telemetry.spans)) == 1
    assert len(outcomes(telemetry)) == 3
    assert_billed_once(telemetry, provider)


async def test_the_plumbing_of_a_team_is_hidden(provider: DemoProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """It quotes the messages, whether or not anybody asked."""
    monkeypatch.setenv("AUTOGEN_DISABLE_RUNTIME_TRACING", "false")
    shown = Destination()
    with record(destinations=[shown]):
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
    assert tree(shown.spans) == f"create_agent forecaster\ncreate_agent editor\n{TEAM}"
    assert QUESTION not in "".join(str(span.attributes) for span in shown.spans)
    assert "autogen" not in {attributes_of(span).get("gen_ai.provider.name") for span in shown.spans}


async def test_content_is_on_a_teams_run_when_it_is_captured(provider: DemoProvider) -> None:
    with alone(capture_content="span") as telemetry:
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
    run = telemetry.attributes_of("invoke_workflow newsroom")
    assert QUESTION in run["gen_ai.input.messages"]
    assert REPLIES[QUESTION] in run["gen_ai.output.messages"]


async def test_the_calls_of_a_tool_are_inside_of_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, asking_async(provider)) as agent:
        await agent.run(task=QUESTION)
    assert tree(telemetry.spans, kept=is_run) == RUN.replace("weather\n", "weather\n    chat gpt-4.1-mini\n")


async def test_a_model_that_fails_fails_a_team_with_the_same_error_as_before(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        async with a_team(provider) as team:
            with pytest.raises(RuntimeError, match="InternalServerError"):
                await team.run(task=QUESTION)
    assert telemetry.attributes_of("invoke_workflow newsroom")["error.type"] == "RuntimeError"


async def test_a_cancelled_agent_leaves_nothing_open(telemetry: Telemetry) -> None:
    with DemoProvider(latency=0.5) as provider:
        async with an_agent(provider) as agent:
            await cancelled(agent.run(task=QUESTION), lambda: provider.requests)
    assert outcomes(telemetry) == ["cancelled"]


@pytest.mark.parametrize("make", [an_agent, a_team])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("admitted", [0, 1, 2])
async def test_a_budget_ends_the_run_at_its_first_refusal(
    provider: DemoProvider, way: str, admitted: int, make: Any
) -> None:
    """The second request is a tool's: its errors are otherwise told to the model."""
    with refusing(alone, requests=admitted, per="day") as telemetry:
        async with make(provider, asking_async(provider)) as runnable:
            with pytest.raises(genledger.BudgetExceeded):
                await asyncio.wait_for(WAYS[way](runnable), 60)
    assert len(provider.requests) == admitted
    assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted


async def test_a_tool_that_fails_is_told_to_the_model_as_before(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, broken) as agent:
        await agent.run(task=QUESTION)
    assert tree(telemetry.spans, kept=is_run) == RUN.replace("weather", "broken")
    assert "the tool's own" in str(provider.requests[-1].body)


@pytest.mark.parametrize("limit", [{"steps": 2, "per": "run"}, {"requests": 2, "per": "run"}])
async def test_a_teams_run_counts_in_budgets(provider: DemoProvider, limit: dict[str, Any]) -> None:
    """While nobody listens to its agents' spans, all of their calls are the team's."""
    with refusing(alone, **limit):
        async with a_team(provider, asking_async(provider)) as team:
            with pytest.raises(genledger.BudgetExceeded):
                await team.run(task=QUESTION)
    assert len(provider.requests) == 2


@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_an_agents_run_counts_in_budgets(provider: DemoProvider, limit: dict[str, Any]) -> None:
    with refusing(record, **limit):
        async with an_agent(provider) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.run(task=QUESTION)


async def test_we_record_nothing_after_uninstrument(provider: DemoProvider) -> None:
    with record() as telemetry:
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
            count = len(telemetry.spans)
            genledger.uninstrument()
            await team.run(task=QUESTION)
    assert all("genledger" not in str(span.attributes) for span in telemetry.spans[count:])
    assert "genledger" not in {
        span.instrumentation_scope and span.instrumentation_scope.name for span in telemetry.spans[count:]
    }
