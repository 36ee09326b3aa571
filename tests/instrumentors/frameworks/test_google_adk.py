"""Google's ADK, which records its own work: its steps are ours, every call is priced once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking_async,
    assert_billed_once,
    broken,
    cancelled,
    errors,
    is_open,
    nothing_left,
    read,
    refusing,
    slow,
    tenants,
    together,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger

pytest.importorskip("google.adk", reason="google-adk has an environment of its own: make test-frameworks")

from examples.frameworks.google_adk_agent import answer, runner, weather
from google.adk.agents import LlmAgent, ParallelAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types

record = partial(native, libraries=["google-genai"])

CALL = """\
    generate_content gemini-2.5-flash
      generate_content gemini-2.5-flash
"""
TREE = f"invoke_workflow forecaster\n  invoke_agent forecaster\n{CALL}    execute_tool weather\n{CALL}"


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(answer(runner(provider.url), QUESTION) for _ in range(times)))


async def _streamed(provider: DemoProvider) -> None:
    """Server-sent events of the model, as they come."""
    made = runner(provider.url)
    session = await made.session_service.create_session(app_name="weather", user_id="u-1")
    message = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    mode = RunConfig(streaming_mode=StreamingMode.SSE)
    events = made.run_async(user_id="u-1", session_id=session.id, new_message=message, run_config=mode)
    assert any(event.partial for event in await read(events))


FRAMEWORK = Framework(record, _at_once, TREE, stream=_streamed, alone=partial(instrumented, libraries=["google-genai"]))


def test_agents_in_parallel_branches_have_their_own_calls(telemetry: Telemetry, provider: DemoProvider) -> None:
    model = runner(provider.url).agent.model  # type: ignore[union-attr]
    branches = [LlmAgent(name=name, model=model, tools=[weather]) for name in ("one", "two")]
    both = InMemoryRunner(agent=ParallelAgent(name="both", sub_agents=[*branches]), app_name="weather")
    asyncio.run(answer(both, QUESTION))
    assert traces(telemetry.spans) == 1
    for name in ("one", "two"):
        (agent,) = [span for span in telemetry.spans if span.name == f"invoke_agent {name}"]
        inside = [span.name for span in telemetry.spans if span.parent == agent.context]
        assert sorted(inside) == ["execute_tool weather", *["generate_content gemini-2.5-flash"] * 2]
    assert_billed_once(telemetry, provider)


def with_tool(provider: DemoProvider, tool: Callable[..., Any]) -> InMemoryRunner:
    """What runs an agent with another tool."""
    model = runner(provider.url).agent.model  # type: ignore[union-attr]
    return InMemoryRunner(agent=LlmAgent(name="forecaster", model=model, tools=[tool]), app_name="weather")


def in_sync(made: InMemoryRunner) -> None:
    """Run an agent from synchronous code, for which ADK has a thread."""
    session = asyncio.run(made.session_service.create_session(app_name="weather", user_id="u-1"))
    message = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    list(made.run(user_id="u-1", session_id=session.id, new_message=message))


def test_a_run_from_synchronous_code_has_its_tree(telemetry: Telemetry, provider: DemoProvider) -> None:
    with genledger.attribution(tenant="acme"):
        in_sync(runner(provider.url))
    assert tree(telemetry.spans) == TREE
    assert tenants(telemetry.spans) == {"acme"}
    assert_billed_once(telemetry, provider)


def test_the_calls_of_a_tool_are_inside_of_it(provider: DemoProvider) -> None:
    with native(libraries=["google-genai", "openai"]) as telemetry, nothing_left(telemetry):
        asyncio.run(answer(with_tool(provider, asking_async(provider)), QUESTION))
        assert tree(telemetry.spans) == TREE.replace("weather\n", "weather\n      chat gpt-4.1-mini\n")
        assert_billed_once(telemetry, provider)


def test_an_error_of_a_tool_ends_every_step_with_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    with pytest.raises(ValueError, match="the tool's own"):
        asyncio.run(answer(with_tool(provider, broken), QUESTION))
    assert errors(telemetry)["execute_tool broken"] == "ValueError"
    failed = {span.name for span in telemetry.spans if not span.status.is_unset}
    assert failed == {"invoke_workflow forecaster", "invoke_agent forecaster", "execute_tool broken"}
    assert_billed_once(telemetry, provider)


def test_a_run_that_is_cancelled_in_a_tool_leaves_nothing_open(telemetry: Telemetry, provider: DemoProvider) -> None:
    begun = is_open(telemetry, "execute_tool slow")
    asyncio.run(cancelled(answer(with_tool(provider, slow), QUESTION), begun))
    assert TREE.replace("weather", "slow").startswith(tree(telemetry.spans))
    assert_billed_once(telemetry, provider)


ENDED: dict[str, Callable[[DemoProvider], Any]] = {
    "whole": lambda provider: asyncio.run(answer(runner(provider.url), QUESTION)),
    "streamed": lambda provider: asyncio.run(_streamed(provider)),
    "from synchronous code": lambda provider: in_sync(runner(provider.url)),
}


@pytest.mark.parametrize("way", ENDED)
def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider, way: str) -> None:
    with refusing(record, steps=1, per="run"), pytest.raises(genledger.BudgetExceeded):
        ENDED[way](provider)
    assert len(provider.requests) == 1


def test_a_refusal_in_a_tool_ends_the_run(provider: DemoProvider) -> None:
    libraries = partial(native, libraries=["google-genai", "openai"])
    with refusing(libraries, requests=1, per="day"), pytest.raises(genledger.BudgetExceeded):
        asyncio.run(answer(with_tool(provider, asking_async(provider)), QUESTION))
    assert len(provider.requests) == 1
