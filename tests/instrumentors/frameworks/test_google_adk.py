"""Google's ADK, which records its own work: its steps are ours, every call is priced once."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import Framework, assert_billed_once, refusing, together, traces
from tests.instrumentors.telemetry import Telemetry

import genledger

pytest.importorskip("google.adk", reason="google-adk has an environment of its own: make test-frameworks")

from examples.frameworks.google_adk_agent import answer, runner, weather
from google.adk.agents import LlmAgent, ParallelAgent
from google.adk.runners import InMemoryRunner

record = partial(native, libraries=["google-genai"])

CALL = """\
    generate_content gemini-2.5-flash
      generate_content gemini-2.5-flash
"""
TREE = f"invoke_workflow forecaster\n  invoke_agent forecaster\n{CALL}    execute_tool weather\n{CALL}"


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(answer(runner(provider.url), QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, TREE)


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


def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider) -> None:
    with refusing(record, steps=1, per="run"), pytest.raises(genledger.BudgetExceeded):
        asyncio.run(answer(runner(provider.url), QUESTION))
    assert len(provider.requests) == 1
