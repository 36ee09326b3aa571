"""Pydantic AI, which records its own work: its steps are ours, every call is priced once, whoever switched it on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.genledger.applications import run
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    billed,
    broken,
    cancelled,
    cost_shown,
    in_thread,
    is_open,
    refusing,
    shown,
    slow,
    tenants,
    together,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger

pytest.importorskip("pydantic_ai", reason="pydantic-ai has an environment of its own: make test-frameworks")

from pydantic_ai import Agent, InstrumentationSettings
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

record = partial(instrumented, libraries=["openai", "pydantic-ai"])

TREE = """\
invoke_agent forecaster
  chat gpt-4.1-mini
    chat gpt-4.1-mini
  execute_tool weather
  chat gpt-4.1-mini
    chat gpt-4.1-mini
"""


def agent(provider: DemoProvider, tool: Callable[..., Any] = weather, **options: Any) -> Agent:
    """An agent that calls a tool, and then answers."""
    model = OpenAIChatModel(
        "gpt-4.1-mini", provider=OpenAIProvider(base_url=provider.openai_url, api_key="k"), **options
    )
    return Agent(model, name="forecaster", tools=[tool])


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(agent(provider).run(QUESTION) for _ in range(times)))


async def stream(agent: Agent) -> None:
    """Run an agent, and read its answer as it comes."""
    async with agent.run_stream(QUESTION) as result:
        async for _ in result.stream_text():
            pass


FRAMEWORK = Framework(
    record,
    _at_once,
    TREE,
    hook=lambda: Agent._instrument_default,
    stream=lambda provider: stream(agent(provider)),
    alone=partial(instrumented, libraries=["openai"]),
)


async def steps(agent: Agent) -> None:
    """Run an agent step by step."""
    async with agent.iter(QUESTION) as run:
        async for _ in run:
            pass


WAYS: dict[str, Callable[[Agent], Any]] = {
    "run_sync": lambda agent: agent.run_sync(QUESTION),
    "run": lambda agent: asyncio.run(agent.run(QUESTION)),
    "run_stream": lambda agent: asyncio.run(stream(agent)),
    "iter": lambda agent: asyncio.run(steps(agent)),
    "in a thread": lambda agent: in_thread(lambda: agent.run_sync(QUESTION)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    with genledger.attribution(tenant="acme"):
        WAYS[way](agent(provider))
        spent = genledger.spend()
    assert tree(telemetry.spans) == TREE
    assert_billed_once(telemetry, provider)
    assert tenants(telemetry.spans) == {"acme"}
    assert (spent.calls, spent.usd) == (2, pytest.approx(cost_shown(telemetry.spans)))


@pytest.mark.parametrize("first", ["pydantic_ai", "genledger"])
def test_it_is_switched_on_whichever_is_there_first(first: str, tmp_path: Path) -> None:
    lines = ["import pydantic_ai", "import genledger; genledger.instrument(destinations=[])"]
    if first == "genledger":
        lines.reverse()
    done = run(tmp_path, "\n".join([*lines, "print(bool(pydantic_ai.Agent._instrument_default))"]))
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_the_application_switched_on_is_left_as_it_is() -> None:
    theirs = InstrumentationSettings()
    Agent.instrument_all(theirs)
    try:
        with record():
            assert Agent._instrument_default is theirs
        assert Agent._instrument_default is theirs
    finally:
        Agent.instrument_all(False)


def test_with_the_frameworks_own_settings_a_naive_backend_adds_up_what_was_billed(provider: DemoProvider) -> None:
    for options in ({}, {"version": 2}, {"use_aggregated_usage_attribute_names": False}):
        with instrumented(libraries=["openai"]) as telemetry:
            own = InstrumentationSettings(tracer_provider=telemetry.tracer_provider, **options)
            Agent.instrument_all(own)
            try:
                before = billed(provider)
                agent(provider).run_sync(QUESTION)
            finally:
                Agent.instrument_all(False)
            after = billed(provider)
            assert tree(telemetry.spans) == TREE
            assert shown(telemetry.spans) == (after.input - before.input, after.output - before.output)


def test_an_agent_in_a_tool_is_inside_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def delegate(city: str) -> str:
        helper = Agent(agent(provider).model, name="helper")
        return (await helper.run(f"Look out of the window in {city}.")).output

    agent(provider, delegate).run_sync(QUESTION)
    inner = "    invoke_agent helper\n      chat gpt-4.1-mini\n        chat gpt-4.1-mini\n"
    assert f"  execute_tool delegate\n{inner}" in tree(telemetry.spans)
    assert_billed_once(telemetry, provider)


def test_an_error_of_a_tool_ends_every_step_with_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    with pytest.raises(ValueError, match="the tool's own"):
        agent(provider, broken).run_sync(QUESTION)
    failed = {span.name for span in telemetry.spans if not span.status.is_ok and not span.status.is_unset}
    assert failed == {"invoke_agent forecaster", "execute_tool broken"}


def test_a_run_that_is_cancelled_leaves_nothing_open(telemetry: Telemetry, provider: DemoProvider) -> None:
    asyncio.run(cancelled(agent(provider, slow).run(QUESTION), is_open(telemetry, "execute_tool slow")))
    assert {span.name for span in telemetry.spans} > {"execute_tool slow", "invoke_agent forecaster"}


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider, way: str) -> None:
    found = agent(provider)
    with refusing(record, steps=1, per="run"), pytest.raises(genledger.BudgetExceeded):
        WAYS[way](found)
    assert len(provider.requests) == 1


def test_content_is_captured_if_ours_is(provider: DemoProvider) -> None:
    for captured in ("off", "span"):
        with record(capture_content=captured) as telemetry:
            agent(provider).run_sync(QUESTION)
            arguments = telemetry.attributes_of("execute_tool weather").get("gen_ai.tool.call.arguments")
        assert (arguments and json.loads(arguments)) == (None if captured == "off" else {"city": "Paris-75"})
