"""Agno: the tree of runs of agents, teams and workflows, every call priced once, and refusals that end a run."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import (
    RULE,
    Framework,
    asking,
    assert_billed_once,
    broken,
    cancelled,
    in_thread,
    is_open,
    nothing_left,
    parents,
    read,
    refusing,
    together,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger

pytest.importorskip("agno", reason="agno is in the environment of frameworks: make test-frameworks")

from agno.agent import Agent
from agno.exceptions import InputCheckError
from agno.guardrails import BaseGuardrail
from agno.models.openai import OpenAIChat
from agno.team import Team
from agno.workflow import Parallel, Step, StepInput, StepOutput, Workflow
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.agno_agent import agent
from examples.frameworks.traced import QUESTION

record = partial(instrumented, libraries=["openai", "agno"])

AGENT = """\
invoke_agent forecaster
  retrieval atlas
    embeddings text-embedding-3-small
  chat gpt-4.1-mini
  execute_tool weather
  chat gpt-4.1-mini
"""


def plain(provider: DemoProvider, name: str = "clerk", **options: Any) -> Agent:
    """An agent without knowledge."""
    model = OpenAIChat(id="gpt-4.1-mini", base_url=provider.openai_url, api_key="demo", max_retries=0)
    return Agent(name=name, model=model, telemetry=False, **options)


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(agent(provider.openai_url).arun(QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, AGENT, hook=lambda: Agent.run)

WAYS: dict[str, Callable[[Agent], Any]] = {
    "run": lambda agent: agent.run(QUESTION),
    "arun": lambda agent: asyncio.run(agent.arun(QUESTION)),
    "streamed": lambda agent: list(agent.run(QUESTION, stream=True)),
    "streamed with events": lambda agent: list(agent.run(QUESTION, stream=True, stream_events=True)),
    "streamed, asynchronous": lambda agent: asyncio.run(read(agent.arun(QUESTION, stream=True))),
    "in a thread": lambda agent: in_thread(lambda: agent.run(QUESTION)),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_agent_has_its_tree_however_it_is_run(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](agent(provider.openai_url))
    assert tree(telemetry.spans) == AGENT
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_team_delegates_to_its_member_in_a_tool(
    telemetry: Telemetry, provider: DemoProvider, streamed: bool, asynchronous: bool
) -> None:
    member = plain(provider, "forecaster", id="Paris-75", tools=[weather])
    team = Team(name="office", members=[member], model=plain(provider).model, telemetry=False)
    if asynchronous:
        asyncio.run(read(team.arun(QUESTION, stream=True)) if streamed else team.arun(QUESTION))
    else:
        answer = team.run(QUESTION, stream=streamed)
        list(answer) if streamed else None
    assert tree(telemetry.spans) == (
        "invoke_agent office\n"
        "  chat gpt-4.1-mini\n"
        "  execute_tool delegate_task_to_member\n"
        "    invoke_agent forecaster\n"
        "      chat gpt-4.1-mini\n"
        "      execute_tool weather\n"
        "      chat gpt-4.1-mini\n"
        "  chat gpt-4.1-mini\n"
    )
    assert_billed_once(telemetry, provider)


WORKFLOW = """\
invoke_workflow daily
  gather
    invoke_agent reader
      chat gpt-4.1-mini
  write
"""


def _workflow(provider: DemoProvider) -> Workflow:
    def write(given: StepInput) -> StepOutput:
        return StepOutput(content="written")

    steps = [Step(name="gather", agent=plain(provider, "reader")), Step(name="write", executor=write)]
    return Workflow(name="daily", steps=steps, telemetry=False)


@pytest.mark.parametrize("way", WAYS)
def test_the_steps_of_a_workflow_are_tasks(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](_workflow(provider))
    assert tree(telemetry.spans) == WORKFLOW
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("way", WAYS)
def test_parallel_steps_have_the_calls_that_they_make(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    steps = Parallel(*(Step(name=name, agent=plain(provider, f"agent {name}")) for name in ("a", "b")), name="both")
    WAYS[way](Workflow(name="daily", steps=[steps], telemetry=False))
    ordered = tree(telemetry.spans).splitlines()
    assert ordered[0] == "invoke_workflow daily"
    assert parents(telemetry.spans) == [
        ("a", "invoke_workflow daily"),
        ("b", "invoke_workflow daily"),
        ("chat gpt-4.1-mini", "invoke_agent agent a"),
        ("chat gpt-4.1-mini", "invoke_agent agent b"),
        ("invoke_agent agent a", "a"),
        ("invoke_agent agent b", "b"),
    ]


def test_an_agent_and_its_tool_say_who_they_are(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry, nothing_left(telemetry):
        made = agent(provider.openai_url, description="knows the weather")
        made.run(QUESTION, session_id="s-1", user_id="u-1")
        run, tool = telemetry.attributes_of("invoke_agent forecaster"), telemetry.attributes_of("execute_tool weather")
        found = telemetry.attributes_of("retrieval atlas")
    assert run["gen_ai.agent.description"] == "knows the weather"
    assert run["gen_ai.conversation.id"] == "s-1"
    assert QUESTION in run["gen_ai.input.messages"]
    assert "It is sunny in Paris." in run["gen_ai.output.messages"]
    assert tool["gen_ai.tool.call.id"]
    assert "Paris-75" in tool["gen_ai.tool.call.arguments"]
    assert "sunny in Paris-75" in tool["gen_ai.tool.call.result"]
    assert found["gen_ai.retrieval.query.text"] == QUESTION
    assert "capital of France" in found["gen_ai.retrieval.documents"]


def test_a_streamed_answer_is_the_content_of_its_run(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry:
        list(agent(provider.openai_url).run(QUESTION, stream=True))
        run = telemetry.attributes_of("invoke_agent forecaster")
    assert "It is sunny in Paris." in run["gen_ai.output.messages"]


def test_the_session_and_user_of_a_run_are_attributed_unless_the_application_says_so(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    with genledger.attribution(tenant="acme", user="known"):
        plain(provider).run(QUESTION, session_id="s-1", user_id="u-1")
    for span in telemetry.spans:
        found = attributes_of(span)
        assert (found["genledger.tenant.id"], found["session.id"], found["user.id"]) == ("acme", "s-1", "known")


def test_a_session_that_is_no_attribution_changes_nothing(telemetry: Telemetry, provider: DemoProvider) -> None:
    plain(provider).run(QUESTION, session_id="s" * 300)
    assert "session.id" not in attributes_of(telemetry.spans[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_failed_says_so_though_agno_raises_nothing(telemetry: Telemetry, way: str) -> None:
    with DemoProvider(faults=[Fault("Paris", 500, times=9)]) as provider:
        WAYS[way](plain(provider))
        run = telemetry.attributes_of("invoke_agent clerk")
    assert "ReportedError" in run["error.type"]
    assert tree(telemetry.spans) == "invoke_agent clerk\n  chat gpt-4.1-mini\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_that_failed_says_so(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](plain(provider, tools=[broken]))
    assert "ReportedError" in telemetry.attributes_of("execute_tool broken")["error.type"]


def test_a_stream_that_is_left_ends_its_run(telemetry: Telemetry, provider: DemoProvider) -> None:
    before = get_current()
    stream = plain(provider).run(QUESTION, stream=True)
    next(stream)
    assert get_current() is before
    stream.close()
    assert [span.name for span in telemetry.spans if span.parent is None] == ["invoke_agent clerk"]


def test_a_stream_that_is_never_read_ends_its_run(telemetry: Telemetry, provider: DemoProvider) -> None:
    plain(provider).run(QUESTION, stream=True)
    gc.collect()
    assert not provider.requests
    assert [span.name for span in telemetry.spans] == ["invoke_agent clerk"]


def test_a_run_that_is_cancelled_ends_with_all_that_is_in_it(telemetry: Telemetry) -> None:
    with DemoProvider(latency=1) as provider:
        asyncio.run(cancelled(plain(provider).arun(QUESTION), is_open(telemetry, "chat gpt-4.1-mini")))
    assert tree(telemetry.spans) == "invoke_agent clerk\n  chat gpt-4.1-mini\n"


def test_the_body_of_a_loop_over_a_stream_is_not_inside_the_run(telemetry: Telemetry, provider: DemoProvider) -> None:
    for _ in plain(provider).run(QUESTION, stream=True):
        assert get_current() == {}


class NoTests(BaseGuardrail):
    """A guardrail of the application."""

    def check(self, run_input: Any) -> None:
        if "test" in run_input.input_content_string():
            raise InputCheckError("no tests", check_trigger="test")

    async def async_check(self, run_input: Any) -> None:
        self.check(run_input)


@pytest.mark.parametrize("way", WAYS)
def test_guardrails_are_tasks(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](plain(provider, pre_hooks=[NoTests()]))
    assert tree(telemetry.spans) == "invoke_agent clerk\n  NoTests\n  chat gpt-4.1-mini\n"


def test_a_guardrail_that_refuses_an_input_says_so(telemetry: Telemetry, provider: DemoProvider) -> None:
    plain(provider, pre_hooks=[NoTests()]).run("a test")
    assert "InputCheckError" in telemetry.attributes_of("NoTests")["error.type"]
    assert tree(telemetry.spans) == "invoke_agent clerk\n  NoTests\n"


RETRIED = {"retries": 3, "delay_between_retries": 0}


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_ends_the_run_at_once_with_its_name(provider: DemoProvider, way: str) -> None:
    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](plain(provider, tools=[weather], **RETRIED))
        assert refused.value.rule == RULE
        assert tree(telemetry.spans) == (
            "invoke_agent clerk\n  chat gpt-4.1-mini\n  execute_tool weather\n  chat gpt-4.1-mini\n"
        )
        assert telemetry.attributes_of("invoke_agent clerk")["error.type"].endswith("BudgetExceeded")
        calls = [attributes_of(span) for span in telemetry.spans if span.name == "chat gpt-4.1-mini"]
        assert [call["genledger.outcome"] for call in calls] == ["success", "blocked"]
    assert len(provider.requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_in_a_tool_ends_the_run(provider: DemoProvider, way: str) -> None:
    with refusing(record, model="gpt-5-mini", requests=0, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            WAYS[way](plain(provider, tools=[asking(provider, "gpt-5-mini")], **RETRIED))
        assert tree(telemetry.spans) == (
            "invoke_agent clerk\n  chat gpt-4.1-mini\n  execute_tool weather\n    chat gpt-5-mini\n"
        )
    assert len(provider.requests) == 1


def test_a_hook_may_handle_a_refusal_itself(provider: DemoProvider) -> None:
    handled = []

    def ask(run_input: Any) -> None:
        try:
            asking(provider, "gpt-5-mini")("Paris")
        except genledger.BudgetExceeded as refusal:
            handled.append(refusal)

    with refusing(record, model="gpt-5-mini", requests=0, per="day"):
        answer = plain(provider, pre_hooks=[ask]).run(QUESTION)
    assert answer.content == "It is sunny in Paris."
    assert len(handled) == 1


def test_a_tool_may_handle_a_refusal_itself(provider: DemoProvider) -> None:
    def ask(city: str) -> str:
        """Ask another model."""
        try:
            asking(provider, "gpt-5-mini")("Paris")
        except genledger.BudgetExceeded:
            return "sunny, I guess"
        return "unreachable"

    with refusing(record, model="gpt-5-mini", requests=0, per="day"):
        answer = plain(provider, tools=[ask]).run(QUESTION)
    assert answer.content == "It is sunny in Paris."


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_in_a_workflow_ends_it(provider: DemoProvider, way: str) -> None:
    with refusing(record, requests=0, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            WAYS[way](_workflow(provider))
        assert tree(telemetry.spans).splitlines()[:3] == [
            "invoke_workflow daily",
            "  gather",
            "    invoke_agent reader",
        ]
    assert not provider.requests


def test_a_refusal_in_a_member_ends_the_team(provider: DemoProvider) -> None:
    member = plain(provider, "forecaster", id="Paris-75", **RETRIED)
    team = Team(name="office", members=[member], model=plain(provider).model, telemetry=False)
    with refusing(record, requests=1, per="day"), pytest.raises(genledger.BudgetExceeded):
        team.run(QUESTION)
    assert len(provider.requests) == 1


@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"repeats": 1}])
def test_loop_caps_count_the_runs_of_agents(provider: DemoProvider, limit: dict[str, Any]) -> None:
    with refusing(record, **limit):
        if "steps" in limit:
            with pytest.raises(genledger.BudgetExceeded, match=RULE):
                plain(provider, tools=[weather]).run(QUESTION)
            assert len(provider.requests) == 1
        else:
            plain(provider, tools=[weather]).run(QUESTION)
            assert len(provider.requests) == 2
        plain(provider).run(QUESTION)  # another run


def test_the_depth_of_runs_in_runs_is_limited(provider: DemoProvider) -> None:
    team = Team(name="office", members=[plain(provider, id="Paris-75")], model=plain(provider).model, telemetry=False)
    with refusing(record, depth=0), pytest.raises(genledger.BudgetExceeded):
        team.run(QUESTION)
    assert len(provider.requests) == 1


def test_a_run_gives_the_objects_that_it_gives_without_genledger(provider: DemoProvider) -> None:
    def kinds() -> list[type]:
        made = plain(provider)
        promised = made.arun(QUESTION)
        given: list[Any] = [made.run(QUESTION), made.run(QUESTION, stream=True), promised, made.arun("", stream=True)]
        promised.close()
        return [type(one) for one in given]

    before = kinds()
    with record():
        assert kinds() == before
