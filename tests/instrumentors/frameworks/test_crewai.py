"""CrewAI: the tree of runs of crews, flows and agents, every call priced once, and refusals that end a run."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.instrumentors.frameworks.runs import (
    RULE,
    Framework,
    asking,
    assert_billed_once,
    broken,
    cancelled,
    errors,
    in_thread,
    indented,
    is_open,
    nothing_left,
    outcomes,
    parents,
    read,
    refusing,
    tenants,
    together,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger

pytest.importorskip("crewai", reason="crewai has an environment of its own: make test-frameworks")

from crewai import LLM, Agent, Crew, Task
from crewai.events import crewai_event_bus
from crewai.events.event_context import get_current_parent_id
from crewai.events.types.task_events import TaskFailedEvent, TaskStartedEvent
from crewai.flow import Flow, listen, start
from crewai.tools import tool
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.crewai_agent import crew, weather
from examples.frameworks.traced import QUESTION, REPLIES

record = partial(instrumented, libraries=["openai", "crewai"])

CREW = """\
invoke_workflow office
  forecast
    retrieval knowledge
      chat gpt-4.1-mini
      embeddings text-embedding-3-small
    invoke_agent forecaster
      chat gpt-4.1-mini
      execute_tool weather
      chat gpt-4.1-mini
"""
"""Beside the calls that embed its document, before its first task."""


def clerk(provider: DemoProvider, role: str = "clerk", **options: Any) -> Agent:
    """An agent without knowledge."""
    model = LLM(model="openai/gpt-4.1-mini", base_url=provider.openai_url, api_key="demo", max_retries=0)
    return Agent(role=role, goal="help", backstory="You help.", llm=model, **options)


def task(agent: Agent, name: str = "answer", **options: Any) -> Task:
    """A task of an agent."""
    return Task(name=name, description=QUESTION, expected_output="A word.", agent=agent, **options)


def small(provider: DemoProvider, **options: Any) -> Crew:
    """A crew of one agent that has a tool."""
    one = clerk(provider, tools=[weather], **options)
    return Crew(name="office", agents=[one], tasks=[task(one)])


SMALL = """\
invoke_workflow office
  answer
    invoke_agent clerk
      chat gpt-4.1-mini
      execute_tool weather
      chat gpt-4.1-mini
"""


def _streamed(crew: Crew) -> None:
    crew.stream = True
    list(crew.kickoff())


async def _streamed_async(crew: Crew) -> None:
    crew.stream = True
    await read(await crew.akickoff())


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(small(provider).akickoff() for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, SMALL, hook=lambda: type(crewai_event_bus).emit)

WAYS: dict[str, Callable[[Crew], Any]] = {
    "kickoff": lambda crew: crew.kickoff(),
    "kickoff_async": lambda crew: asyncio.run(crew.kickoff_async()),
    "akickoff": lambda crew: asyncio.run(crew.akickoff()),
    "streamed": _streamed,
    "streamed, asynchronous": lambda crew: asyncio.run(_streamed_async(crew)),
    "in a thread": lambda crew: in_thread(crew.kickoff),
}


def test_a_crew_retrieves_and_calls_tools_in_its_tasks(telemetry: Telemetry, provider: DemoProvider) -> None:
    made = crew(provider.openai_url)
    made.kickoff()
    spans = [span for span in telemetry.spans if span.parent is not None or "invoke" in span.name]
    (workflow,) = (span for span in spans if span.name == "invoke_workflow office")
    before = [span for span in spans if span.name.startswith("embeddings") and span.parent == workflow.context]
    assert tree(span for span in spans if span not in before) == CREW
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("way", WAYS)
def test_a_crew_has_its_tree_however_it_is_run(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    scope = get_current_parent_id()
    WAYS[way](small(provider))
    assert get_current_parent_id() == scope
    assert tree(telemetry.spans) == SMALL
    assert_billed_once(telemetry, provider)


def test_tasks_at_the_same_time_have_the_calls_that_they_make(telemetry: Telemetry, provider: DemoProvider) -> None:
    agents = [clerk(provider, name) for name in ("a", "b")]
    tasks = [task(one, f"task {one.role}", async_execution=True) for one in agents]
    tasks.append(task(agents[0], "last"))
    Crew(name="office", agents=agents, tasks=tasks).kickoff()
    assert parents(telemetry.spans) == [
        ("chat gpt-4.1-mini", "invoke_agent a"),
        ("chat gpt-4.1-mini", "invoke_agent a"),
        ("chat gpt-4.1-mini", "invoke_agent b"),
        ("invoke_agent a", "last"),
        ("invoke_agent a", "task a"),
        ("invoke_agent b", "task b"),
        ("last", "invoke_workflow office"),
        ("task a", "invoke_workflow office"),
        ("task b", "invoke_workflow office"),
    ]


def test_an_agent_alone_has_its_tree(telemetry: Telemetry, provider: DemoProvider) -> None:
    clerk(provider, tools=[weather]).kickoff(QUESTION)
    assert tree(telemetry.spans) == (
        "invoke_agent clerk\n  chat gpt-4.1-mini\n  execute_tool weather\n  chat gpt-4.1-mini\n"
    )
    assert_billed_once(telemetry, provider)


def _flow(provider: DemoProvider) -> Any:
    class Daily(Flow):
        @start()
        def gather(self) -> str:
            return str(small(provider).kickoff())

        @listen(gather)
        def write(self, gathered: str) -> str:
            return gathered

    return Daily()


FLOW = f"invoke_workflow Daily\n  gather\n{indented(SMALL, 2)}  write\n"


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "in a thread"])
def test_the_methods_of_a_flow_are_tasks(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](_flow(provider))
    assert tree(telemetry.spans) == FLOW
    assert_billed_once(telemetry, provider)


def test_a_crew_is_inside_what_the_application_observes(telemetry: Telemetry, provider: DemoProvider) -> None:
    with genledger.attribution(tenant="acme"), genledger.observe("request"):
        small(provider).kickoff()
    assert tree(telemetry.spans) == "request\n" + indented(SMALL, 1)
    assert tenants(telemetry.spans) == {"acme"}


def test_an_agent_and_its_tool_say_what_they_do(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry, nothing_left(telemetry):
        crew(provider.openai_url).kickoff(inputs={"year": "2026"})
        workflow = telemetry.attributes_of("invoke_workflow office")
        run, called = (
            telemetry.attributes_of("invoke_agent forecaster"),
            telemetry.attributes_of("execute_tool weather"),
        )
        found = telemetry.attributes_of("retrieval knowledge")
    assert "2026" in workflow["gen_ai.input.messages"]
    assert "It is sunny in Paris." in workflow["gen_ai.output.messages"]
    assert run["gen_ai.agent.description"] == "know the weather"
    assert QUESTION in run["gen_ai.input.messages"]
    assert "Paris-75" in called["gen_ai.tool.call.arguments"]
    assert "sunny in Paris-75" in called["gen_ai.tool.call.result"]
    assert "capital of France" in found["gen_ai.retrieval.documents"]


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500, times=9)]) as provider, pytest.raises(Exception, match="500"):
        small(provider, max_retry_limit=0).kickoff()
    found = errors(telemetry)
    assert found.keys() == {"invoke_workflow office", "answer", "invoke_agent clerk", "chat gpt-4.1-mini"}
    assert all("InternalServerError" in error for error in found.values())


def test_a_tool_that_failed_says_so(telemetry: Telemetry, provider: DemoProvider) -> None:
    one = clerk(provider, tools=[tool("weather")(broken)])
    Crew(name="office", agents=[one], tasks=[task(one)]).kickoff()
    assert tree(telemetry.spans) == SMALL
    assert telemetry.attributes_of("execute_tool weather")["error.type"] == "ValueError"


def test_a_crew_that_is_cancelled_leaves_no_call_open(provider: DemoProvider) -> None:
    with record() as telemetry, nothing_left(telemetry), DemoProvider(latency=1) as slow:
        asyncio.run(cancelled(small(slow).akickoff(), is_open(telemetry, "chat gpt-4.1-mini")))
        assert "chat gpt-4.1-mini" in [span.name for span in telemetry.spans]


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_ends_the_run_at_once_with_its_name(provider: DemoProvider, way: str) -> None:
    scope = get_current_parent_id()
    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](small(provider))
        assert (type(refused.value).__name__, refused.value.rule) == ("BudgetExceeded", RULE)
        assert tree(telemetry.spans) == SMALL
        assert outcomes(telemetry) == ["success", "blocked"]
        assert telemetry.attributes_of("invoke_workflow office")["error.type"].endswith("BudgetExceeded")
    assert len(provider.requests) == 1
    assert get_current_parent_id() == scope


def test_a_refusal_of_an_agent_with_a_time_limit_keeps_its_name(provider: DemoProvider) -> None:
    with refusing(record, requests=0, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            small(provider, max_execution_time=60).kickoff()
        assert outcomes(telemetry) == ["blocked"]


def _asking(provider: DemoProvider, handled: bool) -> Crew:
    @tool("ask")
    def ask(city: str) -> str:
        """Ask another model."""
        try:
            asking(provider, "gpt-5-mini")("Paris")
        except genledger.BudgetExceeded:
            if not handled:
                raise
        return "sunny, I guess"

    one = clerk(provider, tools=[ask])
    return Crew(name="office", agents=[one], tasks=[task(one)])


NO_OTHER: dict[str, Any] = {"model": "gpt-5-mini", "requests": 0, "per": "day"}


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_in_a_tool_ends_the_run(provider: DemoProvider, way: str) -> None:
    scope = get_current_parent_id()
    with refusing(record, **NO_OTHER) as telemetry:
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](_asking(provider, handled=False))
        assert refused.value.rule == RULE
        assert tree(telemetry.spans) == (
            "invoke_workflow office\n"
            "  answer\n"
            "    invoke_agent clerk\n"
            "      chat gpt-4.1-mini\n"
            "      execute_tool ask\n"
            "        chat gpt-5-mini\n"
        )
    assert len(provider.requests) == 1
    assert get_current_parent_id() == scope


def test_a_tool_may_handle_a_refusal_itself(provider: DemoProvider) -> None:
    with refusing(record, **NO_OTHER):
        assert str(_asking(provider, handled=True).kickoff()) == "It is sunny in Paris."


def test_a_refusal_ends_an_agent_that_runs_alone(provider: DemoProvider) -> None:
    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            clerk(provider, tools=[weather]).kickoff(QUESTION)
        assert outcomes(telemetry) == ["success", "blocked"]


def test_a_refusal_while_knowledge_is_searched_ends_the_run(provider: DemoProvider) -> None:
    with refusing(record, model="gpt-4.1-mini", requests=0, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            crew(provider.openai_url).kickoff()
        assert outcomes(telemetry).count("blocked") == 1


def test_a_refusal_ends_a_flow(provider: DemoProvider) -> None:
    with refusing(record, requests=0, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            _flow(provider).kickoff()
        assert tree(telemetry.spans).splitlines()[:3] == [
            "invoke_workflow Daily",
            "  gather",
            "    invoke_workflow office",
        ]


def test_an_agent_still_tries_again_after_other_errors(telemetry: Telemetry) -> None:
    with DemoProvider(replies=REPLIES, faults=[Fault("Paris", 500, times=1)]) as provider:
        assert str(small(provider).kickoff()) == "It is sunny in Paris."


def test_steps_of_a_run_are_limited(provider: DemoProvider) -> None:
    with refusing(record, steps=1, per="run"), pytest.raises(genledger.BudgetExceeded):
        small(provider).kickoff()
    assert len(provider.requests) == 1


def test_the_same_call_of_a_tool_is_counted(provider: DemoProvider) -> None:
    with refusing(record, repeats=0), pytest.raises(genledger.BudgetExceeded):
        small(provider).kickoff()


def test_an_end_without_a_start_and_an_unknown_parent_change_nothing(telemetry: Telemetry) -> None:
    with crewai_event_bus.scoped_handlers():
        crewai_event_bus.emit(None, TaskFailedEvent(error="never began"))
        assert not telemetry.spans
        begun = TaskStartedEvent(context=None)
        begun.parent_event_id = "unknown"
        crewai_event_bus.emit(None, begun)
        crewai_event_bus.emit(None, TaskFailedEvent(error="ended"))
    assert not telemetry.complaints.other


def test_tokens_are_shown_once_beside_crewais_own_telemetry(provider: DemoProvider, monkeypatch: Any) -> None:
    from crewai.telemetry import Telemetry as Own

    with record() as telemetry:
        monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "false")
        monkeypatch.setattr(Own(), "provider", telemetry.tracer_provider)  # instead of its makers'
        small(provider).kickoff()
        crewai_event_bus.flush()
        own = [span for span in telemetry.spans if "crewai" in (span.instrumentation_scope or span).name.lower()]
        assert own
        assert_billed_once(telemetry, provider)
        assert tree(span for span in telemetry.spans if span not in own) == SMALL


def test_runs_that_never_end_are_bounded() -> None:
    from genledger.instrumentation.adapters.callbacks import MAX_OPEN

    contexts = [contextvars.Context() for _ in range(MAX_OPEN + 5)]
    with record() as telemetry, crewai_event_bus.scoped_handlers():
        for context in contexts:
            context.run(lambda: crewai_event_bus.emit(None, TaskStartedEvent(context=None)))
        assert len(telemetry.spans) == 5
        genledger.uninstrument()
        assert len(telemetry.spans) == MAX_OPEN + 5
        assert not telemetry.open.spans
