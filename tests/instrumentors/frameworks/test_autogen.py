"""AutoGen: runs of teams around its agents' own spans, and a budget's refusal ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.sdk.trace import ReadableSpan
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.runs import (
    billed,
    cost_shown,
    is_step_or_call,
    nothing_left,
    shown,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.budgets import budget

pytest.importorskip("autogen_agentchat", reason="autogen has an environment of its own: make test-frameworks")

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_ext.models.openai import OpenAIChatCompletionClient

QUESTION = "What is the weather in Paris-75?"

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


async def weather(city: str) -> str:
    """Say what the weather is like in a city."""
    return f"sunny in {city}"


def asking(provider: DemoProvider) -> Callable[[str], Any]:
    """A tool that asks the model by itself."""

    async def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
            return (await client.responses.create(model="gpt-4.1-mini", input=city)).output_text

    return weather


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


def record(**options: Any) -> Any:
    """Genledger with this library and OpenAI's."""
    return instrumented(libraries=["openai", "autogen"], **options)


def refusing(requests: int) -> Any:
    """Genledger with a budget of a few requests."""
    return record(budgets=[budget(requests=requests, per="day")], budget_store="memory")


def is_run(span: ReadableSpan) -> bool:
    """Return whether a span is no plumbing; that an agent was made is no part of its run."""
    return is_step_or_call(span) and not span.name.startswith("create_agent")


def outcomes(telemetry: Telemetry) -> list[str]:
    """How each call ended."""
    found = [attributes_of(span) for span in telemetry.spans]
    return [one["genledger.outcome"] for one in found if "genledger.outcome" in one]


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies={QUESTION: "It is sunny."}) as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with record() as telemetry, nothing_left(telemetry):
        trace.set_tracer_provider(telemetry.tracer_provider)
        yield telemetry


async def _whole(runnable: Any) -> None:
    await runnable.run(task=QUESTION)


async def _streamed(runnable: Any) -> None:
    async for _ in runnable.run_stream(task=QUESTION):
        assert get_current() == {}


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
    assert shown(telemetry.spans) == billed(provider)


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
    assert shown(telemetry.spans) == billed(provider)
    ours = [span for span in telemetry.spans if "genledger.outcome" in (span.attributes or {})]
    assert len(ours) == len(provider.requests) == 3
    assert cost_shown(telemetry.spans) == cost_shown(ours) > 0


async def test_the_plumbing_of_a_team_is_hidden(provider: DemoProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """It quotes the messages, whether or not anybody asked."""
    monkeypatch.setenv("AUTOGEN_DISABLE_RUNTIME_TRACING", "false")
    shown = Destination()
    with record(destinations=[shown]) as telemetry:
        trace.set_tracer_provider(telemetry.tracer_provider)
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
    assert tree(shown.spans) == f"create_agent forecaster\ncreate_agent editor\n{TEAM}"
    assert QUESTION not in "".join(str(span.attributes) for span in shown.spans)
    assert "autogen" not in {attributes_of(span).get("gen_ai.provider.name") for span in shown.spans}


async def test_content_is_on_a_teams_run_when_it_is_captured(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry:
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
    run = telemetry.attributes_of("invoke_workflow newsroom")
    assert QUESTION in run["gen_ai.input.messages"]
    assert "It is sunny." in run["gen_ai.output.messages"]


async def test_runs_side_by_side_keep_their_calls(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with a_team(provider) as first, a_team(provider) as second:
        await asyncio.gather(first.run(task=QUESTION), second.run(task=QUESTION))
    spans = [span for span in telemetry.spans if is_run(span)]
    assert traces(spans) == 2
    for run in {span.context.trace_id for span in spans if span.context is not None}:
        mine = [span for span in telemetry.spans if span.context and span.context.trace_id == run]
        assert tree(mine, kept=is_run) == TEAM


async def test_a_team_takes_the_attribution_around_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with a_team(provider) as team:
        with genledger.attribution(tenant="acme"):
            await team.run(task=QUESTION)
    assert {attributes_of(span).get("genledger.tenant.id") for span in telemetry.spans if is_run(span)} == {"acme"}


async def test_the_calls_of_a_tool_are_inside_of_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, asking(provider)) as agent:
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
            run = asyncio.create_task(agent.run(task=QUESTION))
            while not provider.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
    assert outcomes(telemetry) == ["cancelled"]


@pytest.mark.parametrize("make", [an_agent, a_team])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("admitted", [0, 1, 2])
async def test_a_budget_ends_the_run_at_its_first_refusal(
    provider: DemoProvider, way: str, admitted: int, make: Any
) -> None:
    """The second request is a tool's: its errors are otherwise told to the model."""
    with refusing(admitted) as telemetry:
        async with make(provider, asking(provider)) as runnable:
            with pytest.raises(genledger.BudgetExceeded):
                await asyncio.wait_for(WAYS[way](runnable), 60)
    assert len(provider.requests) == admitted
    assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted
    assert not telemetry.open.spans


async def test_a_tool_that_fails_is_told_to_the_model_as_before(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def weather(city: str) -> str:
        """Say what the weather is like in a city."""
        raise ValueError("the tool's own")

    async with an_agent(provider, weather) as agent:
        await agent.run(task=QUESTION)
    assert tree(telemetry.spans, kept=is_run) == RUN
    assert "the tool's own" in str(provider.requests[-1].body)


@pytest.mark.parametrize("limit", [{"steps": 2, "per": "run"}, {"requests": 2, "per": "run"}])
async def test_a_teams_run_counts_in_budgets(provider: DemoProvider, limit: dict[str, Any]) -> None:
    """While nobody listens to its agents' spans, all of their calls are the team's."""
    with record(budgets=[budget(**limit)], budget_store="memory"):
        async with a_team(provider, asking(provider)) as team:
            with pytest.raises(genledger.BudgetExceeded):
                await team.run(task=QUESTION)
    assert len(provider.requests) == 2


@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_an_agents_run_counts_in_budgets(provider: DemoProvider, limit: dict[str, Any]) -> None:
    with record(budgets=[budget(**limit)], budget_store="memory") as telemetry:
        trace.set_tracer_provider(telemetry.tracer_provider)
        async with an_agent(provider) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.run(task=QUESTION)


async def test_we_record_nothing_after_uninstrument(provider: DemoProvider) -> None:
    with record() as telemetry:
        trace.set_tracer_provider(telemetry.tracer_provider)
        async with a_team(provider) as team:
            await team.run(task=QUESTION)
            count = len(telemetry.spans)
            genledger.uninstrument()
            await team.run(task=QUESTION)
    assert all("genledger" not in str(span.attributes) for span in telemetry.spans[count:])
    assert "genledger" not in {
        span.instrumentation_scope and span.instrumentation_scope.name for span in telemetry.spans[count:]
    }
