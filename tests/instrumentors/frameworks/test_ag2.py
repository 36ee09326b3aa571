"""AG2: the tree of its runs, and a budget's refusal ends them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION, REPLIES
from opentelemetry.context import get_current
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking,
    assert_billed_once,
    broken,
    cancelled,
    cost_shown,
    errors,
    indented,
    nothing_left,
    outcomes,
    refusing,
    together,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger

pytest.importorskip("ag2.agent", reason="ag2 has an environment of its own: make test-frameworks")

import httpx2
from ag2 import Agent, TaskConfig
from ag2.config import OpenAIConfig, OpenAIResponsesConfig
from ag2.middleware import RetryMiddleware, TelemetryMiddleware

LIBRARIES = ["openai", "ag2"]

record = partial(instrumented, libraries=LIBRARIES)

RUN = """\
invoke_agent forecaster
  chat gpt-4.1-mini
  execute_tool weather
  chat gpt-4.1-mini
"""


@asynccontextmanager
async def an_agent(
    provider: DemoProvider,
    tool: Any = weather,
    name: str = "forecaster",
    config: Callable[..., Any] = OpenAIConfig,
    streaming: bool = False,
    **options: Any,
) -> AsyncIterator[Any]:
    """An agent of AG2, whose connections are closed at the end."""
    async with httpx2.AsyncClient() as connections:
        made = config(
            "gpt-4.1-mini",
            api_key="k",
            base_url=provider.openai_url,
            http_client=connections,
            streaming=streaming,
            max_retries=0,
        )
        yield Agent(name, config=made, tools=[tool] if tool is not None else [], **options)


async def _at_once(provider: DemoProvider, times: int) -> None:
    async with an_agent(provider) as agent:
        await together(*(agent.ask(QUESTION) for _ in range(times)))


async def _asked(agent: Any) -> None:
    await agent.ask(QUESTION)


async def _run(agent: Any) -> None:
    async with agent.run(QUESTION) as run:
        assert get_current() == {}
        await run.result()


async def _events(agent: Any) -> None:
    async with agent.run(QUESTION) as run:
        run.start()
        with run.stream.join() as events:
            async for _ in events:
                assert get_current() == {}
                break
        await run.result()


FRAMEWORK = Framework(record, _at_once, RUN)

WAYS: dict[str, Callable[[Any], Any]] = {"asked": _asked, "in a block": _run, "in the background": _events}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("config", [OpenAIConfig, OpenAIResponsesConfig])
@pytest.mark.parametrize("way", WAYS)
async def test_a_run_has_its_tree_however_it_is_called(
    telemetry: Telemetry, provider: DemoProvider, way: str, config: Any, streaming: bool
) -> None:
    before = get_current()
    async with an_agent(provider, config=config, streaming=streaming) as agent:
        await WAYS[way](agent)
    assert get_current() is before
    assert tree(telemetry.spans) == RUN
    assert_billed_once(telemetry, provider)


async def test_a_run_names_its_conversation_and_the_call_of_its_tool(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    async with an_agent(provider) as agent:
        reply = await agent.ask(QUESTION)
        await reply.ask("And tomorrow?")
    runs = [attributes_of(span) for span in telemetry.spans if span.name == "invoke_agent forecaster"]
    assert {run["gen_ai.agent.name"] for run in runs} == {"forecaster"}
    assert {run["gen_ai.conversation.id"] for run in runs} == {str(reply.context.stream.id)}
    tools = [attributes_of(span) for span in telemetry.spans if span.name == "execute_tool weather"]
    assert tools[0]["gen_ai.tool.call.id"] == "call_demo00000001"


async def test_content_is_on_steps_when_it_is_captured(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry:
        async with an_agent(provider) as agent:
            await agent.ask(QUESTION)
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert QUESTION in run["gen_ai.input.messages"]
    assert REPLIES[QUESTION] in run["gen_ai.output.messages"]
    tool = telemetry.attributes_of("execute_tool weather")
    assert tool["gen_ai.tool.call.arguments"] == '{"city":"Paris-75"}'
    assert tool["gen_ai.tool.call.result"] == '{"result":"sunny in Paris-75"}'


async def test_the_calls_of_a_tool_in_a_thread_are_inside_of_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, asking(provider)) as agent:
        await agent.ask(QUESTION)
    assert tree(telemetry.spans) == RUN.replace("weather\n", "weather\n    chat gpt-4.1-mini\n")
    assert_billed_once(telemetry, provider)


async def test_an_agent_as_a_tool_is_inside_of_the_tool(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as inner, an_agent(provider, inner.as_tool(description="Ask."), "outer") as outer:
        await outer.ask(QUESTION)
    tool = "  execute_tool task_forecaster\n"
    call = "  chat gpt-4.1-mini\n"
    assert tree(telemetry.spans) == f"invoke_agent outer\n{call}{tool}{indented(RUN, 2)}{call}"


async def test_a_tool_that_fails_is_an_error_of_its_own(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider, broken) as agent:
        await agent.ask(QUESTION)
    assert errors(telemetry) == {"execute_tool broken": "ValueError"}
    assert len(telemetry.spans) == 4


async def test_a_model_that_fails_fails_the_run(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        async with an_agent(provider) as agent:
            with pytest.raises(openai.InternalServerError):
                await agent.ask(QUESTION)
    assert tree(telemetry.spans) == "invoke_agent forecaster\n  chat gpt-4.1-mini\n"
    assert all("error.type" in attributes_of(span) for span in telemetry.spans)


async def test_a_cancelled_run_leaves_nothing_open(telemetry: Telemetry) -> None:
    with DemoProvider(latency=0.5) as provider:
        async with an_agent(provider) as agent:
            await cancelled(agent.ask(QUESTION), lambda: provider.requests)
    assert tree(telemetry.spans) == "invoke_agent forecaster\n  chat gpt-4.1-mini\n"
    assert outcomes(telemetry) == ["cancelled"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("admitted", [0, 1, 2])
async def test_a_budget_ends_the_run_at_its_first_refusal(
    provider: DemoProvider, admitted: int, streaming: bool
) -> None:
    """The second request is a tool's: its errors are otherwise told to the model."""
    with refusing(record, requests=admitted, per="day") as telemetry:
        async with an_agent(provider, asking(provider), streaming=streaming) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.ask(QUESTION)
    assert len(provider.requests) == admitted
    assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted


async def test_a_refused_call_is_not_made_again(provider: DemoProvider) -> None:
    with refusing(record, requests=0, per="day") as telemetry:
        async with an_agent(provider, middleware=[RetryMiddleware(max_retries=3)]) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.ask(QUESTION)
    assert outcomes(telemetry) == ["blocked"]


async def test_other_errors_are_tried_again_as_before(telemetry: Telemetry) -> None:
    with DemoProvider(replies=REPLIES, faults=[Fault("Paris", 500)]) as provider:
        async with an_agent(provider, middleware=[RetryMiddleware(max_retries=3)]) as agent:
            await agent.ask(QUESTION)
    assert sorted(outcomes(telemetry)) == ["error", "success", "success"]


async def test_a_refusal_in_an_agent_that_is_a_tool_ends_the_run(provider: DemoProvider) -> None:
    with refusing(record, requests=1, per="day") as telemetry:
        async with an_agent(provider) as inner, an_agent(provider, inner.as_tool(description="Ask."), "outer") as outer:
            with pytest.raises(genledger.BudgetExceeded):
                await outer.ask(QUESTION)
    assert outcomes(telemetry) == ["success", "blocked"]


async def test_a_refusal_in_a_subtask_ends_the_run(provider: DemoProvider) -> None:
    with refusing(record, requests=1, per="day") as telemetry:
        async with an_agent(provider, None, tasks=TaskConfig()) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.ask(QUESTION)
    assert len(provider.requests) == 1
    assert outcomes(telemetry) == ["success", "blocked"]


async def test_runs_inside_of_runs_count_in_budgets_of_depth(provider: DemoProvider) -> None:
    with refusing(record, depth=0):
        async with an_agent(provider) as inner, an_agent(provider, inner.as_tool(description="Ask."), "outer") as outer:
            with pytest.raises(genledger.BudgetExceeded):
                await outer.ask(QUESTION)
    assert len(provider.requests) == 1


async def test_beside_its_own_middleware_the_tree_is_that_of_its_own_spans(provider: DemoProvider) -> None:
    with native(libraries=LIBRARIES) as telemetry, nothing_left(telemetry):
        own = TelemetryMiddleware(agent_name="forecaster", capture_content=False)
        async with an_agent(provider, middleware=[own]) as agent:
            await agent.ask(QUESTION)
    spans = [span for span in telemetry.spans if not span.name.startswith("record_usage")]
    call = "  chat gpt-4.1-mini-2025-04-14\n    chat gpt-4.1-mini\n"
    assert tree(spans) == f"invoke_agent forecaster\n{call}  execute_tool weather\n{call}"
    assert cost_shown(telemetry.spans) == pytest.approx(
        sum(attributes_of(span)["genledger.cost.amount"] for span in spans if span.name == "chat gpt-4.1-mini")
    )


async def test_beside_its_own_middleware_tokens_are_shown_once(provider: DemoProvider) -> None:
    with native(libraries=LIBRARIES) as telemetry:
        async with an_agent(provider, middleware=[TelemetryMiddleware(capture_content=False)]) as agent:
            await agent.ask(QUESTION)
    assert_billed_once(telemetry, provider)


async def test_content_that_its_own_middleware_has_by_default_stays_with_the_application(
    provider: DemoProvider,
) -> None:
    shown = Destination()
    with native(libraries=LIBRARIES, destinations=[shown]) as telemetry:
        async with an_agent(provider, middleware=[TelemetryMiddleware(agent_name="forecaster")]) as agent:
            await agent.ask(QUESTION)
    assert "Paris-75" in str([span.attributes for span in telemetry.spans])
    assert "Paris-75" not in str([span.attributes for span in shown.spans])
    assert not [span.name for span in shown.spans if span.name.startswith("record_usage")]


@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_a_run_beside_its_own_middleware_counts_in_budgets(provider: DemoProvider, limit: dict[str, Any]) -> None:
    with refusing(partial(native, libraries=LIBRARIES), **limit):
        async with an_agent(provider, middleware=[TelemetryMiddleware(agent_name="forecaster")]) as agent:
            for _ in range(2):  # each run has a limit of its own
                with pytest.raises(genledger.BudgetExceeded):
                    await agent.ask(QUESTION)
    assert len(provider.requests) == 2


async def test_the_agent_is_as_the_application_made_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as agent:
        before = agent.middleware
        await agent.ask(QUESTION)
        assert agent.middleware == before == ()


async def test_a_run_that_has_begun_before_uninstrument_ends(provider: DemoProvider) -> None:
    with record() as telemetry:
        async with an_agent(provider) as agent, agent.run(QUESTION) as run:
            genledger.uninstrument()
            await run.result()
    assert not telemetry.open.spans
    assert not telemetry.complaints.other
