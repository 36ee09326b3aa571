"""Google's ADK, which records its own work: its steps are ours, every call is priced once."""

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
from tests.instrumentors.frameworks.runs import billed, nothing_left, shown, traces, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of

import genledger
from genledger.budgets import budget

pytest.importorskip("google.adk", reason="google-adk has an environment of its own: make test-frameworks")

from examples.frameworks.google_adk_agent import answer, runner, weather
from google.adk.agents import LlmAgent, ParallelAgent
from google.adk.runners import InMemoryRunner

LIBRARIES = ["google-genai"]

CALL = """\
    generate_content gemini-2.5-flash
      generate_content gemini-2.5-flash
"""
TREE = f"invoke_workflow forecaster\n  invoke_agent forecaster\n{CALL}    execute_tool weather\n{CALL}"


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies=REPLIES) as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with native(libraries=LIBRARIES) as telemetry, nothing_left(telemetry):
        yield telemetry


def ask(provider: DemoProvider) -> str:
    """Run the agent once, in a session of its own."""
    return asyncio.run(answer(runner(provider.url), QUESTION))


def in_thread(act: Callable[[], Any]) -> Any:
    """Run something in a thread of its own."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(act).result()


@pytest.mark.parametrize("run", [ask, lambda provider: in_thread(lambda: ask(provider))], ids=["async", "thread"])
def test_a_run_has_its_tree(telemetry: Telemetry, provider: DemoProvider, run: Callable[[DemoProvider], str]) -> None:
    before = get_current()
    with genledger.attribution(tenant="acme"):
        assert run(provider) == "It is sunny in Paris."
    assert get_current() is before
    assert tree(telemetry.spans) == TREE
    assert shown(telemetry.spans) == billed(provider)
    assert {attributes_of(span).get("genledger.tenant.id") for span in telemetry.spans} == {"acme"}


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
    assert shown(telemetry.spans) == billed(provider)


def test_a_budget_ends_the_run_at_the_first_refusal(provider: DemoProvider) -> None:
    with native(libraries=LIBRARIES, budgets=[budget(steps=1, per="run")], budget_store="memory:") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            ask(provider)
        assert len(provider.requests) == 1
        assert not telemetry.open.spans


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider) -> None:
    with native(libraries=LIBRARIES) as telemetry:
        ask(provider)
        count = len(telemetry.spans)
    ask(provider)
    assert len(telemetry.spans) == count == 7
