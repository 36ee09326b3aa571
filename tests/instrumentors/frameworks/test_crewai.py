"""CrewAI: the tree of runs of crews, flows and agents, every call priced once, and refusals that end a run."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import billed, cost_shown, nothing_left, shown, traces, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

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

LIBRARIES = ["openai", "crewai"]

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


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """CrewAI reports runs to its makers, asks whether it may trace them, and keeps files in the user's home."""
    monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("CREWAI_TRACING_ENABLED", "false")
    monkeypatch.setenv("CREWAI_TESTING", "true")
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path_factory.getbasetemp() / "crewai"))
    monkeypatch.setenv("OPENAI_API_KEY", "demo")


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies=REPLIES) as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=LIBRARIES) as telemetry, nothing_left(telemetry):
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


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


def _in_thread(act: Callable[[], Any]) -> None:
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def _streamed(crew: Crew) -> None:
    crew.stream = True
    for _ in crew.kickoff():
        pass


async def _streamed_async(crew: Crew) -> None:
    crew.stream = True
    async for _ in await crew.akickoff():
        pass


WAYS: dict[str, Callable[[Crew], Any]] = {
    "kickoff": lambda crew: crew.kickoff(),
    "kickoff_async": lambda crew: asyncio.run(crew.kickoff_async()),
    "akickoff": lambda crew: asyncio.run(crew.akickoff()),
    "streamed": _streamed,
    "streamed, asynchronous": lambda crew: asyncio.run(_streamed_async(crew)),
    "in a thread": lambda crew: _in_thread(crew.kickoff),
}
RAISING = [way for way in WAYS if way != "in a thread"]


def test_a_crew_retrieves_and_calls_tools_in_its_tasks(telemetry: Telemetry, provider: DemoProvider) -> None:
    made = crew(provider.openai_url)
    made.kickoff()
    spans = [span for span in telemetry.spans if span.parent is not None or "invoke" in span.name]
    (workflow,) = (span for span in spans if span.name == "invoke_workflow office")
    before = [span for span in spans if span.name.startswith("embeddings") and span.parent == workflow.context]
    assert tree(span for span in spans if span not in before) == CREW
    assert shown(telemetry.spans) == billed(provider)
    assert cost_shown(telemetry.spans) > 0


@pytest.mark.parametrize("way", WAYS)
def test_a_crew_has_its_tree_however_it_is_run(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    before, scope = get_current(), get_current_parent_id()
    WAYS[way](small(provider))
    assert get_current() is before
    assert get_current_parent_id() == scope
    assert tree(telemetry.spans) == SMALL
    assert shown(telemetry.spans) == billed(provider)


def test_crews_at_the_same_time_have_trees_of_their_own(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def run() -> None:
        await asyncio.gather(*(small(provider).akickoff() for _ in range(3)))

    asyncio.run(run())
    assert traces(telemetry.spans) == 3
    by_trace: dict[int, list[Any]] = {}
    for span in telemetry.spans:
        assert span.context is not None
        by_trace.setdefault(span.context.trace_id, []).append(span)
    assert [tree(spans) for spans in by_trace.values()] == [SMALL] * 3
    assert shown(telemetry.spans) == billed(provider)


def test_tasks_at_the_same_time_have_the_calls_that_they_make(telemetry: Telemetry, provider: DemoProvider) -> None:
    agents = [clerk(provider, name) for name in ("a", "b")]
    tasks = [task(one, f"task {one.role}", async_execution=True) for one in agents]
    tasks.append(task(agents[0], "last"))
    Crew(name="office", agents=agents, tasks=tasks).kickoff()
    known = {span.context.span_id: span.name for span in telemetry.spans if span.context is not None}
    parents = sorted((span.name, known[span.parent.span_id]) for span in telemetry.spans if span.parent is not None)
    assert parents == [
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
    assert shown(telemetry.spans) == billed(provider)


def _flow(provider: DemoProvider) -> Any:
    class Daily(Flow):
        @start()
        def gather(self) -> str:
            return str(small(provider).kickoff())

        @listen(gather)
        def write(self, gathered: str) -> str:
            return gathered

    return Daily()


FLOW = "invoke_workflow Daily\n  gather\n" + "".join(f"    {line}\n" for line in SMALL.splitlines()) + "  write\n"


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "in a thread"])
def test_the_methods_of_a_flow_are_tasks(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](_flow(provider))
    assert tree(telemetry.spans) == FLOW
    assert shown(telemetry.spans) == billed(provider)


def test_a_crew_is_inside_what_the_application_observes(telemetry: Telemetry, provider: DemoProvider) -> None:
    with genledger.attribution(tenant="acme"), genledger.observe("request"):
        small(provider).kickoff()
    assert tree(telemetry.spans) == "request\n" + "".join(f"  {line}\n" for line in SMALL.splitlines())
    assert {attributes_of(span)["genledger.tenant.id"] for span in telemetry.spans} == {"acme"}


def test_an_agent_and_its_tool_say_what_they_do(provider: DemoProvider) -> None:
    with instrumented(libraries=LIBRARIES, capture_content="span") as telemetry, nothing_left(telemetry):
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


def test_no_content_is_recorded_unless_it_is_captured(telemetry: Telemetry, provider: DemoProvider) -> None:
    small(provider).kickoff()
    assert "Paris" not in str([attributes_of(span) for span in telemetry.spans])


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500, times=9)]) as provider, pytest.raises(Exception, match="500"):
        small(provider, max_retry_limit=0).kickoff()
    errors = {span.name: str(attributes_of(span).get("error.type")) for span in telemetry.spans}
    assert errors.keys() == {"invoke_workflow office", "answer", "invoke_agent clerk", "chat gpt-4.1-mini"}
    assert all("InternalServerError" in error for error in errors.values())


def test_a_tool_that_failed_says_so(telemetry: Telemetry, provider: DemoProvider) -> None:
    @tool("weather")
    def broken(city: str) -> str:
        """Say what the weather is like in a city."""
        raise ValueError("no forecast")

    one = clerk(provider, tools=[broken])
    Crew(name="office", agents=[one], tasks=[task(one)]).kickoff()
    assert tree(telemetry.spans) == SMALL
    assert telemetry.attributes_of("execute_tool weather")["error.type"] == "ValueError"


def test_a_crew_that_is_cancelled_leaves_no_call_open(provider: DemoProvider) -> None:
    async def run(provider: DemoProvider, telemetry: Telemetry) -> None:
        running = asyncio.create_task(small(provider).akickoff())
        for _ in range(3000):
            if "chat gpt-4.1-mini" in telemetry.open.spans.values():
                break
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait([running])

    with instrumented(libraries=LIBRARIES) as telemetry, DemoProvider(latency=1) as slow:
        before = get_current()
        asyncio.run(run(slow, telemetry))
        assert get_current() is before
        assert "chat gpt-4.1-mini" in [span.name for span in telemetry.spans]
        assert not telemetry.open.spans


@pytest.fixture
def limited(tmp_path: Path) -> Callable[[str], Any]:
    def make(rule: str) -> Any:
        rules = tmp_path / "budgets.toml"
        rules.write_text(f'[[budget]]\nname = "few"\n{rule}\n')
        return instrumented(libraries=LIBRARIES, budgets=str(rules), budget_store="memory:")

    return make


def _calls(telemetry: Telemetry) -> list[str]:
    calls = [attributes_of(span) for span in telemetry.spans]
    return [str(call["genledger.outcome"]) for call in calls if "genledger.outcome" in call]


@pytest.mark.parametrize("way", RAISING)
def test_a_refusal_ends_the_run_at_once_with_its_name(
    limited: Callable[[str], Any], provider: DemoProvider, way: str
) -> None:
    scope = get_current_parent_id()
    with limited('requests = 1\nper = "day"') as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](small(provider))
        assert (type(refused.value).__name__, refused.value.rule) == ("BudgetExceeded", "few")
        assert tree(telemetry.spans) == SMALL
        assert _calls(telemetry) == ["success", "blocked"]
        assert telemetry.attributes_of("invoke_workflow office")["error.type"].endswith("BudgetExceeded")
    assert len(provider.requests) == 1
    assert get_current_parent_id() == scope


def test_a_refusal_of_an_agent_with_a_time_limit_keeps_its_name(
    limited: Callable[[str], Any], provider: DemoProvider
) -> None:
    with limited('requests = 0\nper = "day"') as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded):
            small(provider, max_execution_time=60).kickoff()
        assert _calls(telemetry) == ["blocked"]


def _asking(provider: DemoProvider, handled: bool) -> Crew:
    import openai

    @tool("ask")
    def ask(city: str) -> str:
        """Ask another model."""
        client = openai.OpenAI(base_url=provider.openai_url, api_key="demo")
        try:
            client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hi"}])
        except genledger.BudgetExceeded:
            if not handled:
                raise
        return "sunny, I guess"

    one = clerk(provider, tools=[ask])
    return Crew(name="office", agents=[one], tasks=[task(one)])


NO_OTHER = 'model = "gpt-5-mini"\nrequests = 0\nper = "day"'


@pytest.mark.parametrize("way", RAISING)
def test_a_refusal_in_a_tool_ends_the_run(limited: Callable[[str], Any], provider: DemoProvider, way: str) -> None:
    scope = get_current_parent_id()
    with limited(NO_OTHER) as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](_asking(provider, handled=False))
        assert refused.value.rule == "few"
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


def test_a_tool_may_handle_a_refusal_itself(limited: Callable[[str], Any], provider: DemoProvider) -> None:
    with limited(NO_OTHER) as telemetry, nothing_left(telemetry):
        assert str(_asking(provider, handled=True).kickoff()) == "It is sunny in Paris."


def test_a_refusal_ends_an_agent_that_runs_alone(limited: Callable[[str], Any], provider: DemoProvider) -> None:
    with limited('requests = 1\nper = "day"') as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded):
            clerk(provider, tools=[weather]).kickoff(QUESTION)
        assert _calls(telemetry) == ["success", "blocked"]


def test_a_refusal_while_knowledge_is_searched_ends_the_run(
    limited: Callable[[str], Any], provider: DemoProvider
) -> None:
    with limited('model = "gpt-4.1-mini"\nrequests = 0\nper = "day"') as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded):
            crew(provider.openai_url).kickoff()
        assert _calls(telemetry).count("blocked") == 1


def test_a_refusal_ends_a_flow(limited: Callable[[str], Any], provider: DemoProvider) -> None:
    with limited('requests = 0\nper = "day"') as telemetry, nothing_left(telemetry):
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


def test_steps_of_a_run_are_limited(limited: Callable[[str], Any], provider: DemoProvider) -> None:
    with limited('steps = 1\nper = "run"'), pytest.raises(genledger.BudgetExceeded):
        small(provider).kickoff()
    assert len(provider.requests) == 1


def test_the_same_call_of_a_tool_is_counted(limited: Callable[[str], Any], provider: DemoProvider) -> None:
    with limited("repeats = 0"), pytest.raises(genledger.BudgetExceeded):
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


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider) -> None:
    before = type(crewai_event_bus).emit
    with instrumented(libraries=LIBRARIES) as telemetry:
        small(provider).kickoff()
        count = len(telemetry.spans)
    small(provider).kickoff()
    assert len(telemetry.spans) == count == 6
    assert type(crewai_event_bus).emit is before


def test_tokens_are_shown_once_beside_crewais_own_telemetry(provider: DemoProvider, monkeypatch: Any) -> None:
    from crewai.telemetry import Telemetry as Own

    with instrumented(libraries=LIBRARIES) as telemetry:
        monkeypatch.setenv("CREWAI_DISABLE_TELEMETRY", "false")
        monkeypatch.setattr(Own(), "provider", telemetry.tracer_provider)  # instead of its makers'
        small(provider).kickoff()
        crewai_event_bus.flush()
        own = [span for span in telemetry.spans if "crewai" in (span.instrumentation_scope or span).name.lower()]
        assert own
        assert shown(telemetry.spans) == billed(provider)
        assert tree(span for span in telemetry.spans if span not in own) == SMALL


def test_runs_that_never_end_are_bounded(provider: DemoProvider) -> None:
    from genledger.instrumentation.adapters.callbacks import MAX_OPEN

    def begin() -> None:
        crewai_event_bus.emit(None, TaskStartedEvent(context=None))

    with instrumented(libraries=LIBRARIES) as telemetry, crewai_event_bus.scoped_handlers():
        for _ in range(MAX_OPEN + 5):
            contextvars.Context().run(begin)
        assert len(telemetry.spans) == 5
