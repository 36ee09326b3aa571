"""Microsoft's Agent Framework: its own spans around our calls, and a budget's refusal ends its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION
from opentelemetry.context import get_current
from packaging.version import Version
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking,
    assert_billed_once,
    broken,
    cost_shown,
    errors,
    indented,
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
from genledger_semconv.checker import assert_clean

pytest.importorskip("agent_framework", reason="agent-framework has an environment of its own: make test-frameworks")

from agent_framework import Agent, WorkflowBuilder, observability
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient

LIBRARIES = ["openai", "agent-framework"]

record = partial(native, libraries=LIBRARIES)

alone = partial(instrumented, libraries=LIBRARIES)
"""Where nobody listens to the framework's own spans."""

CALL = """\
  chat gpt-4.1-mini
    chat gpt-4.1-mini
"""
"""Agent Framework's span, which has no usage, and ours."""

RUN = f"""\
invoke_agent forecaster
{CALL}\
  execute_tool weather
{CALL}\
"""


@asynccontextmanager
async def an_agent(
    provider: DemoProvider, tool: Any = weather, name: str = "forecaster", client: Any = OpenAIChatCompletionClient
) -> AsyncIterator[Any]:
    """An agent of Agent Framework, whose connections are closed at the end."""
    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as connected:
        yield Agent(client(model="gpt-4.1-mini", async_client=connected), name=name, id=f"{name}-1", tools=[tool])


async def _at_once(provider: DemoProvider, times: int) -> None:
    async with an_agent(provider) as agent:
        await together(*(agent.run(QUESTION) for _ in range(times)))


async def _one_streamed(provider: DemoProvider) -> None:
    async with an_agent(provider) as agent:
        await _streamed(agent)


FRAMEWORK = Framework(record, _at_once, RUN, stream=_one_streamed, alone=alone)


async def _whole(agent: Any) -> None:
    await agent.run(QUESTION)


async def _streamed(agent: Any) -> None:
    await read(agent.run(QUESTION, stream=True))


async def _elsewhere(agent: Any) -> None:
    stream = agent.run(QUESTION, stream=True)
    await asyncio.create_task(stream.get_final_response())


WAYS = {"whole": _whole, "streamed": _streamed, "streamed, and read in another task": _elsewhere}


@pytest.mark.parametrize("client", [OpenAIChatClient, OpenAIChatCompletionClient])
@pytest.mark.parametrize("way", WAYS)
async def test_a_run_has_its_tree_however_it_is_called(
    telemetry: Telemetry, provider: DemoProvider, way: str, client: Any
) -> None:
    before = get_current()
    async with an_agent(provider, client=client) as agent:
        await WAYS[way](agent)
    assert get_current() is before
    assert tree(telemetry.spans) == RUN
    assert traces(telemetry.spans) == 1
    assert_billed_once(telemetry, provider)


async def test_a_run_names_its_agent_and_tool_call_and_shows_its_totals(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    async with an_agent(provider) as agent:
        await agent.run(QUESTION)
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert (run["gen_ai.agent.name"], run["gen_ai.agent.id"]) == ("forecaster", "forecaster-1")
    assert run["genledger.total.calls"] == 2
    assert run["genledger.total.cost"] == pytest.approx(cost_shown(telemetry.spans))
    tool = telemetry.attributes_of("execute_tool weather")
    assert (tool["gen_ai.tool.name"], tool["gen_ai.tool.call.id"]) == ("weather", "call_demo00000001")


async def test_an_agent_as_a_tool_is_inside_of_the_tool(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as inner, an_agent(provider, inner.as_tool(), "outer") as outer:
        await outer.run(QUESTION)
    assert tree(telemetry.spans) == f"invoke_agent outer\n{CALL}  execute_tool forecaster\n{indented(RUN, 2)}{CALL}"
    assert_billed_once(telemetry, provider)


async def test_the_calls_of_a_tool_are_inside_of_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, asking(provider)) as agent:
        await agent.run(QUESTION)
    tool = "  execute_tool weather\n    chat gpt-4.1-mini\n"
    assert tree(telemetry.spans) == f"invoke_agent forecaster\n{CALL}{tool}{CALL}"
    assert_billed_once(telemetry, provider)


async def test_a_tool_that_fails_is_an_error_of_its_own(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, broken) as agent:
        await agent.run(QUESTION)
    assert errors(telemetry) == {"execute_tool broken": "ValueError"}


async def test_a_model_that_fails_fails_the_run(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        async with an_agent(provider) as agent:
            with pytest.raises(Exception, match="service failed to complete the prompt"):
                await agent.run(QUESTION)
    assert tree(telemetry.spans) == f"invoke_agent forecaster\n{CALL}"
    assert all("error.type" in attributes_of(span) for span in telemetry.spans)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("admitted", [0, 1, 2])
async def test_a_budget_ends_the_run_at_its_first_refusal(provider: DemoProvider, way: str, admitted: int) -> None:
    """The second request is a tool's: its errors are otherwise told to the model."""
    with refusing(record, requests=admitted, per="day") as telemetry:
        async with an_agent(provider, asking(provider)) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await WAYS[way](agent)
        assert len(provider.requests) == admitted
        assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted


async def test_a_budget_ends_a_workflow_at_its_first_refusal(provider: DemoProvider) -> None:
    with refusing(alone, requests=1, per="day"):
        async with an_agent(provider, asking(provider)) as first, an_agent(provider, name="second") as second:
            workflow = WorkflowBuilder(start_executor=first).add_edge(first, second).build()
            with pytest.raises(genledger.BudgetExceeded):
                await workflow.run(QUESTION)
    assert len(provider.requests) == 1


async def test_the_cost_is_the_same_without_the_frameworks_telemetry(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    observability.disable_instrumentation()
    try:
        async with an_agent(provider) as agent:
            await agent.run(QUESTION)
    finally:
        observability.enable_instrumentation(force=True)
    assert tree(telemetry.spans) == "chat gpt-4.1-mini\n" * 2
    assert_billed_once(telemetry, provider)


async def test_we_record_nothing_after_uninstrument(provider: DemoProvider) -> None:
    with record() as telemetry:
        async with an_agent(provider) as agent:
            await agent.run(QUESTION)
            count = len(telemetry.spans)
            genledger.uninstrument()
            await agent.run(QUESTION)
    later = telemetry.spans[count:]
    assert all("genledger" not in str(span.attributes) for span in later)
    assert {span.instrumentation_scope.name for span in later if span.instrumentation_scope} == {"agent_framework"}


async def test_errors_of_models_are_wrapped_as_before(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        async with an_agent(provider) as agent:
            with pytest.raises(Exception) as raised:
                await agent.run(QUESTION)
    assert type(raised.value).__name__ == "ChatClientException"
    assert isinstance(raised.value.__cause__, openai.InternalServerError)


async def test_a_workflow_has_a_task_for_each_executor(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as first, an_agent(provider, name="a") as a, an_agent(provider, name="b") as b:
        await WorkflowBuilder(start_executor=first, name="trip").add_chain([first, a, b]).build().run(QUESTION)
    others = "".join(f"  {name}\n    invoke_agent {name}\n{indented(CALL, 2)}" for name in "ab")
    wanted = f"invoke_workflow trip\n  forecaster\n{indented(RUN, 2)}{others}"
    assert tree(telemetry.spans, kept=is_step_or_call) == wanted
    assert_billed_once(telemetry, provider)


async def test_spans_follow_the_conventions_and_have_no_content(provider: DemoProvider) -> None:
    """Agent Framework says more of an agent than the conventions ask: its id, and the provider."""
    shown = Destination()
    with record(destinations=[shown]) as telemetry:
        async with an_agent(provider) as agent:
            await agent.run(QUESTION)
    more = ("gen_ai.agent.id", "gen_ai.provider.name", "gen_ai.aggregated_usage.*")
    assert_clean(shown.spans, telemetry.metrics, telemetry.logs, allow=more)
    assert [attributes_of(span)["gen_ai.response.finish_reasons"] for span in shown.spans if "chat" in span.name] == [
        *[("tool_calls",)] * 2,
        *[("stop",)] * 2,
    ]


@pytest.mark.parametrize("way", WAYS)
async def test_the_plumbing_of_a_workflow_is_hidden(provider: DemoProvider, way: str) -> None:
    shown = Destination()
    if way == "streamed" and Version(version("agent-framework-core")) < Version("1.19"):
        pytest.skip("before 1.19, a streamed workflow leaves its own span in the context of who reads it")
    with record(destinations=[shown]):
        async with an_agent(provider) as first, an_agent(provider, name="second") as second:
            workflow = WorkflowBuilder(start_executor=first, name="trip").add_edge(first, second).build()
            await WAYS[way](workflow)
    executors = f"  forecaster\n{indented(RUN, 2)}  second\n    invoke_agent second\n{indented(CALL, 2)}"
    assert tree(shown.spans) == f"invoke_workflow trip\n{executors}"


async def test_runs_inside_of_runs_count_in_budgets_of_depth(provider: DemoProvider) -> None:
    with refusing(record, depth=0):
        async with an_agent(provider) as inner, an_agent(provider, inner.as_tool(), "outer") as outer:
            with pytest.raises(genledger.BudgetExceeded):
                await outer.run(QUESTION)
    assert len(provider.requests) == 1
