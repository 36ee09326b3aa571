"""OpenAI's agents SDK: the tree of a run, whether the SDK traces it or not, and every call priced once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION, REPLIES
from openai import OpenAI
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import Totals, billed, cost_shown, nothing_left, shown, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.budgets import budget
from genledger_semconv.checker import assert_clean

pytest.importorskip("agents", reason="openai-agents has an environment of its own: make test-frameworks")

import agents
from agents import Agent, ModelSettings, RunConfig, Runner, function_tool
from agents.retry import ModelRetrySettings, retry_policies
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from examples.frameworks.openai_agents_agent import forecaster

LIBRARIES = ["openai", "openai-agents"]

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


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies=REPLIES) as provider:
        yield provider


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=LIBRARIES) as telemetry, nothing_left(telemetry):
        yield telemetry
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


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
    before = get_current()
    result = WAYS[way](forecaster(provider.openai_url), QUESTION, run_config=config)
    assert result.final_output == REPLIES[QUESTION]
    assert get_current() is before
    assert tree(telemetry.spans) == RUN
    assert shown(telemetry.spans) == billed(provider) != Totals(0, 0)
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
    with instrumented(libraries=LIBRARIES):
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


def client(provider: DemoProvider) -> OpenAI:
    """A client of the application's own."""
    return OpenAI(base_url=provider.openai_url, api_key="demo")


def ask(client: OpenAI) -> str:
    """A call that a tool makes itself."""
    return str(client.responses.create(model="gpt-4.1-mini", input="Who is there?").output_text)


def calls(*names: str, argument: str = "city") -> ScriptedModel:
    """A model of the application's own, which calls these tools at once, and then answers."""
    called = [function_call(name, {argument: "Paris"}, call_id=f"call-{index}") for index, name in enumerate(names)]
    return ScriptedModel([called, [assistant_message("Done.")]])


def test_calls_in_parallel_tools_belong_to_their_own(
    telemetry: Telemetry, provider: DemoProvider, config: RunConfig
) -> None:
    asked = client(provider)

    def tool(name: str, in_thread: bool) -> Any:
        def plain(city: str) -> str:
            return ask(asked)

        async def coroutine(city: str) -> str:
            return await asyncio.to_thread(ask, asked)

        return function_tool(plain if in_thread else coroutine, name_override=name)

    tools = [tool("a", True), tool("b", False), tool("c", True)]
    WAYS["run"](Agent("busy", model=calls("a", "b", "c"), tools=tools), "Go.", run_config=config)
    parents = {span.context.span_id: span.name for span in telemetry.spans if span.context is not None}
    called = [
        parents[span.parent.span_id] for span in telemetry.spans if span.name == "chat gpt-4.1-mini" and span.parent
    ]
    assert sorted(called) == ["execute_tool a", "execute_tool b", "execute_tool c"]
    assert shown(telemetry.spans) == billed(provider)


def test_parallel_runs_are_traces_of_their_own(telemetry: Telemetry, provider: DemoProvider, config: RunConfig) -> None:
    async def both() -> None:
        agent = forecaster(provider.openai_url)
        await asyncio.gather(*(Runner.run(agent, QUESTION, run_config=config) for _ in range(3)))

    asyncio.run(both())
    by_trace: dict[int, list[Any]] = {}
    for span in telemetry.spans:
        assert span.context is not None
        by_trace.setdefault(span.context.trace_id, []).append(span)
    assert [tree(spans) for spans in by_trace.values()] == [RUN] * 3


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
    assert shown(telemetry.spans) == billed(provider)


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
        return agents.GuardrailFunctionOutput(ask(client(provider)), tripwire_triggered=triggered)

    agent = forecaster(provider.openai_url)
    agent.input_guardrails = [polite]
    if triggered:
        with pytest.raises(agents.InputGuardrailTripwireTriggered):
            WAYS["run"](agent, QUESTION, run_config=config)
    else:
        WAYS["run"](agent, QUESTION, run_config=config)
    found = tree(telemetry.spans)
    assert "\n    polite\n      chat gpt-4.1-mini\n" in found or "\n  polite\n    chat gpt-4.1-mini\n" in found
    errors = [attributes_of(span).get("error.type") for span in telemetry.spans if "invoke" in span.name]
    assert ("agents.exceptions.InputGuardrailTripwireTriggered" in errors) is triggered


@function_tool
def broken(city: str) -> str:
    """Fail."""
    raise ValueError("the tool's own")


@function_tool(failure_error_function=None)
def fatal(city: str) -> str:
    """Fail, and end the run."""
    raise ValueError("the tool's own")


def errors(telemetry: Telemetry) -> dict[str, Any]:
    """The error of each span that has one."""
    found = {span.name: attributes_of(span).get("error.type") for span in telemetry.spans}
    return {name: error for name, error in found.items() if error is not None}


def test_an_error_that_the_model_is_told_of_is_the_tools(telemetry: Telemetry) -> None:
    WAYS["run"](Agent("host", model=calls("broken"), tools=[broken]), "Go.")
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


def refusing(**limits: Any) -> Any:
    """Instrument with one budget that blocks."""
    return instrumented(libraries=LIBRARIES, budgets=[budget(name="limit", **limits)], budget_store="memory:")


@pytest.mark.parametrize("way", WAYS)
def test_a_budgets_refusal_ends_the_run_with_its_name(provider: DemoProvider, config: RunConfig, way: str) -> None:
    with refusing(requests=1, per="run") as telemetry, nothing_left(telemetry):
        with pytest.raises(genledger.BudgetExceeded) as refused:
            WAYS[way](forecaster(provider.openai_url), QUESTION, run_config=config)
        assert refused.value.rule == "limit"
        assert len(provider.requests) == 1
        assert tree(telemetry.spans) == RUN
        assert set(errors(telemetry).values()) == {"genledger.budgets.enforcement.exceeded.BudgetExceeded"}
        assert shown(telemetry.spans) == billed(provider)


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_is_not_retried(provider: DemoProvider, way: str) -> None:
    asked: list[Any] = []

    def policy(context: Any) -> bool:
        asked.append(context.error)
        return True

    agent = forecaster(provider.openai_url)
    agent.model_settings = ModelSettings(
        retry=ModelRetrySettings(max_retries=3, policy=retry_policies.any(policy, retry_policies.http_status([429])))
    )
    with refusing(requests=1, per="day") as telemetry:
        with pytest.raises(genledger.BudgetExceeded):
            WAYS[way](agent, QUESTION)
        assert len(provider.requests) == 1
        assert not asked
        assert tree(telemetry.spans) == RUN


@pytest.mark.parametrize("nested", [False, True])
def test_a_refusal_in_a_tool_ends_the_run_instead_of_being_told_to_the_model(
    provider: DemoProvider, nested: bool
) -> None:
    asked = client(provider)

    @function_tool
    def research(city: str) -> str:
        """Ask a model."""
        return ask(asked)

    agent = Agent("host", model=calls("research"), tools=[research])
    if nested:
        agent = Agent("outer", model=calls("inner", argument="input"), tools=[agent.as_tool("inner", "Runs it.")])
    with refusing(requests=1, per="day") as telemetry, nothing_left(telemetry):
        ask(asked)
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
    asked = client(provider)

    @function_tool
    def look(city: str) -> str:
        """Look."""
        return "sunny"

    def turn(index: int) -> Any:
        def answer(call: Any) -> Any:
            ask(asked)
            if index == len(cities):
                return [assistant_message("Done.")]
            return [function_call("look", {"city": cities[index]}, call_id=f"call-{index}")]

        return ModelStep.respond(answer)

    model = ScriptedModel([turn(index) for index in range(len(cities) + 1)])
    with refusing(repeats=1) as telemetry, nothing_left(telemetry):
        try:
            WAYS["run"](Agent("host", model=model, tools=[look]), "Go.", run_config=config)
            refused = False
        except genledger.BudgetExceeded:
            refused = True
        assert len(provider.requests) == requests
        assert refused is (len(set(cities)) == 1)
        ids = {attributes_of(span).get("gen_ai.tool.call.id") for span in telemetry.spans if "look" in span.name}
        assert ids == {f"call-{index}" for index in range(min(requests, 3))}


def test_content_is_on_agents_and_tools_where_it_is_captured(provider: DemoProvider) -> None:
    with instrumented(libraries=LIBRARIES, capture_content="span") as telemetry:
        WAYS["run"](forecaster(provider.openai_url), QUESTION)
        tool = telemetry.attributes_of("execute_tool weather")
        agent = telemetry.attributes_of("invoke_agent forecaster")
        assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"city": "Paris-75"}
        assert "sunny in Paris-75" in tool["gen_ai.tool.call.result"]
        (asked,) = json.loads(agent["gen_ai.input.messages"])
        assert asked["parts"] == [{"type": "text", "content": QUESTION}]
        assert REPLIES[QUESTION] in agent["gen_ai.output.messages"]
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs, capture_content=True)


def test_no_content_is_recorded_by_default(telemetry: Telemetry, provider: DemoProvider) -> None:
    WAYS["run"](forecaster(provider.openai_url), QUESTION)
    said = "".join(span.to_json() for span in telemetry.spans)
    assert "Paris" not in said


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


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider) -> None:
    with instrumented(libraries=LIBRARIES) as telemetry:
        WAYS["run"](forecaster(provider.openai_url), QUESTION)
        count = len(telemetry.spans)
    WAYS["run"](forecaster(provider.openai_url), QUESTION)
    assert len(telemetry.spans) == count == 5


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
    with refusing(depth=depth) as telemetry, nothing_left(telemetry):
        if refused:
            with pytest.raises(agents.UserError):
                WAYS["run"](outer, QUESTION, run_config=config)
        else:
            WAYS["run"](outer, QUESTION, run_config=config)
        assert len(provider.requests) == (0 if refused else 2)
