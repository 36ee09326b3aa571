"""OpenAI's agents SDK: the tree of a run, whether the SDK traces it or not, and every call priced once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION, REPLIES
from tests.instrumentors.frameworks.runs import (
    RULE,
    Framework,
    asking,
    asking_async,
    assert_billed_once,
    billed,
    broken,
    cost_shown,
    errors,
    parents,
    refusing,
    together,
    tree,
    trees,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("agents", reason="openai-agents has an environment of its own: make test-frameworks")

import agents
from agents import Agent, Model, ModelResponse, ModelSettings, RunConfig, Runner, Usage, function_tool
from examples.frameworks.openai_agents_agent import forecaster
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

record = partial(instrumented, libraries=["openai", "openai-agents"])

agents.set_trace_processors([])  # nothing is sent to OpenAI

RUN = """\
invoke_workflow Agent workflow
  invoke_agent forecaster
    chat gpt-4.1-mini
    execute_tool weather
    chat gpt-4.1-mini
"""


class KeptSpans(agents.TracingProcessor):  # type: ignore[misc,name-defined]
    """A processor of the application's own."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def on_trace_start(self, trace: Any) -> None:
        """Not kept."""

    def on_trace_end(self, trace: Any) -> None:
        """Not kept."""

    def on_span_start(self, span: Any) -> None:
        """Not kept."""

    def on_span_end(self, span: Any) -> None:
        """Keep a span."""
        self.spans.append(span)

    def shutdown(self) -> None:
        """Nothing to end."""

    def force_flush(self) -> None:
        """Nothing waits."""


@pytest.fixture(autouse=True)
def kept() -> Iterator[KeptSpans]:
    """What the SDK tells the application; nothing is sent to OpenAI."""
    processor = KeptSpans()
    agents.set_trace_processors([processor])
    yield processor
    agents.set_trace_processors([])


@pytest.fixture(params=["traced", "disabled", "disabled for the run"])
def config(request: pytest.FixtureRequest) -> Iterator[RunConfig]:
    """The ways to have the SDK's own telemetry or not."""
    agents.set_tracing_disabled(request.param == "disabled")
    yield RunConfig(tracing_disabled=request.param == "disabled for the run")
    agents.set_tracing_disabled(False)


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(Runner.run(forecaster(provider.openai_url), QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, RUN)


async def stream(agent: Any, question: Any, **options: Any) -> Any:
    """Read a streamed run to its end."""
    result = Runner.run_streamed(agent, question, **options)
    async for _ in result.stream_events():
        pass
    return result


WAYS: dict[str, Callable[..., Any]] = {
    "run": lambda *args, **options: asyncio.run(Runner.run(*args, **options)),
    "run_sync": lambda *args, **options: Runner.run_sync(*args, **options),
    "run_streamed": lambda *args, **options: asyncio.run(stream(*args, **options)),
}


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """The loop that `run_sync` leaves for the thread's next run."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield
    made.close()
    asyncio.set_event_loop(None)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_has_its_tree_and_its_cost_however_it_is_called(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig, way: str
) -> None:
    result = WAYS[way](forecaster(provider.openai_url), QUESTION, run_config=config)
    assert result.final_output == REPLIES[QUESTION]
    assert tree(telemetry.spans) == RUN
    assert_billed_once(telemetry, provider)
    assert cost_shown(telemetry.spans) == pytest.approx(
        billed(provider).input * 0.4e-6 + billed(provider).output * 1.6e-6
    )


def test_the_application_hears_the_same_of_the_sdk_as_without_genledger(
    provider: DemoProvider, kept: KeptSpans
) -> None:
    def heard() -> list[Any]:
        kept.spans.clear()
        WAYS["run"](forecaster(provider.openai_url), QUESTION)
        return [(span.span_data.type, span.parent_id is None, span.error) for span in kept.spans]

    before = heard()
    with record():
        assert heard() == before


def test_a_handover_is_a_task_of_the_agent_that_hands_over(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig
) -> None:
    second = forecaster(provider.openai_url)
    WAYS["run"](Agent("triage", model=second.model, handoffs=[second]), QUESTION, run_config=config)
    assert tree(telemetry.spans) == (
        "invoke_workflow Agent workflow\n"
        "  invoke_agent triage\n"
        "    chat gpt-4.1-mini\n"
        "    handoff forecaster\n"
        "  invoke_agent forecaster\n"
        "    chat gpt-4.1-mini\n"
    )


class ScriptedModel(Model):  # type: ignore[misc,unused-ignore]
    """A model of the application's own, which gives these answers in turn."""

    def __init__(self, answers: Iterable[list[Any]]) -> None:
        self.answers = iter(answers)

    async def get_response(self, *args: Any, **options: Any) -> Any:
        """Give the next answer."""
        return ModelResponse(next(self.answers), Usage(), response_id=None)

    async def stream_response(self, *args: Any, **options: Any) -> Any:
        """Give the next answer, at once."""
        whole = {"id": "r", "created_at": 0, "model": "m", "object": "response", "output": next(self.answers)}
        whole |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        yield ResponseCompletedEvent.construct(
            type="response.completed", response=Response.construct(**whole), sequence_number=0
        )


def called(name: str, arguments: dict[str, str], index: int = 0) -> Any:
    """A call of a tool."""
    return ResponseFunctionToolCall(
        type="function_call", name=name, arguments=json.dumps(arguments), call_id=f"call-{index}"
    )


def said(text: str) -> Any:
    """The end of a run."""
    content = [ResponseOutputText(type="output_text", text=text, annotations=[])]
    return ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=content)


def calls(*names: str, argument: str = "city") -> ScriptedModel:
    """A model that calls these tools at once, and then answers."""
    return ScriptedModel(
        [[called(name, {argument: "Paris"}, index) for index, name in enumerate(names)], [said("Done.")]]
    )


def test_calls_in_parallel_tools_belong_to_their_own(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig
) -> None:
    acts = {"a": asking(provider), "b": asking_async(provider), "c": asking(provider)}
    tools = [function_tool(act, name_override=name) for name, act in acts.items()]
    WAYS["run"](Agent("busy", model=calls("a", "b", "c"), tools=tools), "Go.", run_config=config)
    inside = [("chat gpt-4.1-mini", f"execute_tool {name}") for name in acts]
    assert [pair for pair in parents(telemetry.spans) if pair[0] == "chat gpt-4.1-mini"] == inside
    assert_billed_once(telemetry, provider)


def test_parallel_runs_are_traces_of_their_own(telemetry: Telemetry, provider: DemoProvider, config: RunConfig) -> None:
    agent = forecaster(provider.openai_url)
    asyncio.run(together(*(Runner.run(agent, QUESTION, run_config=config) for _ in range(3))))
    assert trees(telemetry.spans) == [RUN] * 3


def test_an_agent_that_is_a_tool_runs_in_the_tool(telemetry: Telemetry, provider: DemoProvider) -> None:
    inner = forecaster(provider.openai_url)
    outer = Agent("host", model=inner.model, tools=[inner.as_tool("forecast", "Forecasts.")])
    WAYS["run"](outer, QUESTION)
    assert tree(telemetry.spans) == (
        "invoke_workflow Agent workflow\n"
        "  invoke_agent host\n"
        "    chat gpt-4.1-mini\n"
        "    execute_tool forecast\n"
        "      invoke_agent forecaster\n"
        "        chat gpt-4.1-mini\n"
        "        execute_tool weather\n"
        "        chat gpt-4.1-mini\n"
        "    chat gpt-4.1-mini\n"
    )
    assert_billed_once(telemetry, provider)


def test_a_trace_of_the_application_holds_its_runs_in_their_conversation(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    async def twice() -> None:
        with agents.trace("Trip", group_id="thread-1"):
            for _ in range(2):
                await Runner.run(forecaster(provider.openai_url), QUESTION)

    asyncio.run(twice())
    runs = RUN.partition("\n")[2]
    assert tree(telemetry.spans) == f"invoke_workflow Trip\n{runs}{runs}"
    assert telemetry.attributes_of("invoke_workflow Trip")["gen_ai.conversation.id"] == "thread-1"
    assert {attributes_of(span).get("session.id") for span in telemetry.spans} == {"thread-1"}


def test_the_applications_own_session_is_kept(telemetry: Telemetry, provider: DemoProvider, config: RunConfig) -> None:
    config.group_id = "thread-1"
    with genledger.attribution(tenant="acme", session="visit-7"):
        WAYS["run"](forecaster(provider.openai_url), QUESTION, run_config=config)
    found = [attributes_of(span) for span in telemetry.spans]
    assert {(one["genledger.tenant.id"], one["session.id"]) for one in found} == {("acme", "visit-7")}
    workflow = telemetry.attributes_of("invoke_workflow Agent workflow")
    assert workflow["gen_ai.conversation.id"] == "thread-1"


@pytest.mark.parametrize("triggered", [False, True])
def test_a_guardrail_is_a_task_with_its_calls(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig, triggered: bool
) -> None:
    @agents.input_guardrail(run_in_parallel=False)  # type: ignore[untyped-decorator,unused-ignore]
    def polite(context: Any, agent: Any, given: Any) -> Any:
        return agents.GuardrailFunctionOutput(asking(provider)("Paris"), tripwire_triggered=triggered)

    agent = forecaster(provider.openai_url)
    agent.input_guardrails = [polite]
    if triggered:
        with pytest.raises(agents.InputGuardrailTripwireTriggered):
            WAYS["run"](agent, QUESTION, run_config=config)
    else:
        WAYS["run"](agent, QUESTION, run_config=config)
    found = tree(telemetry.spans)
    assert "\n    polite\n      chat gpt-4.1-mini\n" in found or "\n  polite\n    chat gpt-4.1-mini\n" in found
    assert ("agents.exceptions.InputGuardrailTripwireTriggered" in errors(telemetry).values()) is triggered


@function_tool(failure_error_function=None)
def fatal(city: str) -> str:
    """Fail, and end the run."""
    raise ValueError("the tool's own")


def test_an_error_that_the_model_is_told_of_is_the_tools(telemetry: Telemetry) -> None:
    WAYS["run"](Agent("host", model=calls("broken"), tools=[function_tool(broken)]), "Go.")
    assert errors(telemetry) == {"execute_tool broken": "ValueError"}


@pytest.mark.parametrize("way", WAYS)
def test_an_error_that_ends_the_run_is_on_every_step(telemetry: Telemetry, config: RunConfig, way: str) -> None:
    with pytest.raises(agents.UserError, match="the tool's own"):
        WAYS[way](Agent("host", model=calls("fatal"), tools=[fatal]), "Go.", run_config=config)
    wrapped = "agents.exceptions.UserError"
    assert errors(telemetry) == {
        "execute_tool fatal": wrapped,
        "invoke_agent host": wrapped,
        "invoke_workflow Agent workflow": wrapped,
    }


def test_an_error_that_the_application_is_handling_is_not_the_runs(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig
) -> None:
    async def recover() -> None:
        try:
            raise KeyError("lost")
        except KeyError:
            await Runner.run(forecaster(provider.openai_url), QUESTION, run_config=config)

    asyncio.run(recover())
    assert tree(telemetry.spans) == RUN
    assert not errors(telemetry)


@pytest.mark.parametrize("way", ["run", "run_streamed"])
def test_a_run_that_is_cancelled_midway_leaves_nothing_open(telemetry: Telemetry, config: RunConfig, way: str) -> None:
    async def cancel() -> None:
        begun = asyncio.Event()

        @function_tool
        async def wait(city: str) -> str:
            """Wait for long."""
            begun.set()
            await asyncio.sleep(3600)
            return "late"

        agent = Agent("host", model=calls("wait"), tools=[wait])
        if way == "run":
            task = asyncio.ensure_future(Runner.run(agent, "Go.", run_config=config))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            result = Runner.run_streamed(agent, "Go.", run_config=config)
            await begun.wait()
            result.cancel()
            assert result.run_loop_task is not None
            await asyncio.wait([result.run_loop_task])

    asyncio.run(cancel())
    assert tree(telemetry.spans) == ("invoke_workflow Agent workflow\n  invoke_agent host\n    execute_tool wait\n")


@pytest.mark.parametrize("way", WAYS)
def test_a_budgets_refusal_ends_the_run_with_its_name(provider: DemoProvider, config: RunConfig, way: str) -> None:
    with refusing(record, requests=1, per="run") as telemetry:
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](forecaster(provider.openai_url), QUESTION, run_config=config)
        assert refused.value.rule == RULE
        assert len(provider.requests) == 1
        assert tree(telemetry.spans) == RUN
        assert set(errors(telemetry).values()) == {"genledger.budgets.enforcement.exceeded.BudgetExceeded"}
        assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_not_retried(provider: DemoProvider, way: str) -> None:
    retry = pytest.importorskip("agents.retry", reason="models are not retried before 0.12")
    asked: list[Any] = []

    def policy(context: Any) -> bool:
        asked.append(context.error)
        return True

    agent = forecaster(provider.openai_url)
    agent.model_settings = ModelSettings(
        retry=retry.ModelRetrySettings(
            max_retries=3, policy=retry.retry_policies.any(policy, retry.retry_policies.http_status([429]))
        )
    )
    with refusing(record, requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            WAYS[way](agent, QUESTION)
        assert len(provider.requests) == 1
        assert not asked
        assert tree(telemetry.spans) == RUN


@pytest.mark.parametrize("nested", [False, True])
def test_a_refusal_in_a_tool_ends_the_run_instead_of_being_told_to_the_model(
    provider: DemoProvider, nested: bool
) -> None:
    agent = Agent("host", model=calls("weather"), tools=[function_tool(asking(provider))])
    if nested:
        agent = Agent("outer", model=calls("inner", argument="input"), tools=[agent.as_tool("inner", "Runs it.")])
    with refusing(record, requests=1, per="day"):
        asking(provider)("Paris")
        with pytest.raises(agents.UserError) as raised:
            WAYS["run"](agent, "Go.")
        cause: BaseException | None = raised.value
        while cause is not None and not isinstance(cause, genledger.BudgetExceeded):
            cause = cause.__cause__
        assert isinstance(cause, genledger.BudgetExceeded)
        assert len(provider.requests) == 1


@pytest.mark.parametrize(("cities", "requests"), [(["Paris"] * 3, 2), (["Paris", "Rome", "Oslo"], 4)])
def test_repeats_of_the_same_call_of_a_tool_are_counted_and_others_are_not(
    provider: DemoProvider, config: RunConfig, cities: list[str], requests: int
) -> None:
    ask = asking(provider)

    @function_tool
    def look(city: str) -> str:
        """Look."""
        return "sunny"

    def answers() -> Iterator[list[Any]]:
        for index, city in enumerate(cities):
            ask("Paris")
            yield [called("look", {"city": city}, index)]
        ask("Paris")
        yield [said("Done.")]

    with refusing(record, repeats=1) as telemetry:
        try:
            WAYS["run"](Agent("host", model=ScriptedModel(answers()), tools=[look]), "Go.", run_config=config)
            refused = False
        except genledger.BudgetExceeded:
            refused = True
        assert len(provider.requests) == requests
        assert refused is (len(set(cities)) == 1)
        ids = {attributes_of(span).get("gen_ai.tool.call.id") for span in telemetry.spans if "look" in span.name}
        assert ids == {f"call-{index}" for index in range(min(requests, 3))}


def test_content_is_on_agents_and_tools_where_it_is_captured(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry:
        WAYS["run"](forecaster(provider.openai_url), QUESTION)
        tool = telemetry.attributes_of("execute_tool weather")
        agent = telemetry.attributes_of("invoke_agent forecaster")
        assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"city": "Paris-75"}
        assert "sunny in Paris-75" in tool["gen_ai.tool.call.result"]
        (asked,) = json.loads(agent["gen_ai.input.messages"])
        assert asked["parts"] == [{"type": "text", "content": QUESTION}]
        assert REPLIES[QUESTION] in agent["gen_ai.output.messages"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)


def test_spans_without_a_trace_or_a_start_or_an_end_are_bounded(telemetry: Telemetry) -> None:
    from agents.tracing import agent_span, function_span, trace

    function_span("alone").start()  # no trace: the SDK keeps nothing of it
    agent_span("never begun").finish()
    with trace("Trip") as outer:
        lost = agent_span("lost", parent=outer)
        lost.start()
        function_span("inside", parent=lost).finish()
        with function_span("orphan", span_id="span-1", parent=function_span("never begun", parent=outer)):
            pass
        lost.finish()
        lost.finish()
    telemetry.open.spans.clear()  # what was never ended
    assert "invoke_workflow Trip\n  invoke_agent lost\n" in tree(telemetry.spans)


def test_the_sdk_makes_its_exporter_no_sooner_than_without_genledger() -> None:
    code = (
        "import genledger; genledger.instrument(destinations=[])\n"
        "import agents, agents.tracing.setup as setup; print(setup.GLOBAL_TRACE_PROVIDER)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert ran.stdout.strip() == "None"


@pytest.mark.parametrize(("depth", "refused"), [(1, True), (9, False)])
def test_agents_in_tools_of_agents_are_deeper(
    provider: DemoProvider, config: RunConfig, depth: int, refused: bool
) -> None:
    inner = forecaster(provider.openai_url)
    outer = Agent("host", model=calls("forecast", argument="input"), tools=[inner.as_tool("forecast", "Forecasts.")])
    with refusing(record, depth=depth):
        if refused:
            with pytest.raises(agents.UserError):
                WAYS["run"](outer, QUESTION, run_config=config)
        else:
            WAYS["run"](outer, QUESTION, run_config=config)
        assert len(provider.requests) == (0 if refused else 2)
