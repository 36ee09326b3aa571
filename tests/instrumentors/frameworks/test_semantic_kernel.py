"""Semantic Kernel: runs of agents around its functions' own spans, and a budget's refusal ends them."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from opentelemetry import trace
from opentelemetry.context import get_current
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.runs import (
    billed,
    cost_shown,
    is_step_or_call,
    nothing_left,
    shown,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger.budgets import budget
from genledger_semconv.checker import assert_clean

pytest.importorskip("semantic_kernel", reason="semantic-kernel has an environment of its own: make test-frameworks")

from semantic_kernel import Kernel
from semantic_kernel.agents import (
    ChatCompletionAgent,
    ChatHistoryAgentThread,
    ConcurrentOrchestration,
    SequentialOrchestration,
)
from semantic_kernel.agents.runtime import InProcessRuntime
from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion, OpenAITextEmbedding
from semantic_kernel.connectors.in_memory import InMemoryCollection
from semantic_kernel.data.vector import VectorStoreField, vectorstoremodel
from semantic_kernel.exceptions.service_exceptions import ServiceResponseException
from semantic_kernel.functions import kernel_function
from semantic_kernel.utils.telemetry.agent_diagnostics import decorators as agent_diagnostics
from semantic_kernel.utils.telemetry.model_diagnostics import decorators as model_diagnostics

QUESTION = "What is the weather in Paris-75?"

CALL = "  chat gpt-4.1-mini\n"
TOOL = "  execute_tool Weather-weather\n"
RUN = f"invoke_agent forecaster\n{CALL}{TOOL}{CALL}"

TRACERS = [
    "semantic_kernel.connectors.ai.chat_completion_client_base",
    "semantic_kernel.functions.kernel_function",
    agent_diagnostics.__name__,
    model_diagnostics.__name__,
]
"""Modules that keep the tracer of the first global provider that there is."""


class Weather:
    """A plugin."""

    @kernel_function
    def weather(self, city: str) -> str:
        """Say what the weather is like in a city."""
        return f"sunny in {city}"


def plugin(act: Callable[[str], Any]) -> Any:
    """A plugin whose function does what is given."""

    class Weather:
        @kernel_function
        async def weather(self, city: str) -> str:
            """Say what the weather is like in a city."""
            return str(await act(city))

    return Weather()


@asynccontextmanager
async def a_service(provider: DemoProvider) -> AsyncIterator[Any]:
    """A model of Semantic Kernel, whose connections are closed at the end."""
    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
        yield OpenAIChatCompletion("gpt-4.1-mini", async_client=client)


@asynccontextmanager
async def an_agent(provider: DemoProvider, *plugins: Any, name: str = "forecaster") -> AsyncIterator[Any]:
    """An agent of Semantic Kernel, whose connections are closed at the end."""
    async with a_service(provider) as service:
        yield ChatCompletionAgent(
            service=service, name=name, id=f"{name}-1", description="Knows.", plugins=list(plugins or (Weather(),))
        )


def asking(provider: DemoProvider) -> Any:
    """A plugin that asks the model by itself."""

    async def ask(city: str) -> str:
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
            return (await client.responses.create(model="gpt-4.1-mini", input=city)).output_text

    return plugin(ask)


def record(**options: Any) -> Any:
    """Genledger with this library and OpenAI's."""
    return instrumented(libraries=["openai", "semantic-kernel"], **options)


def refusing(requests: int) -> Any:
    """Genledger with a budget of a few requests."""
    return record(budgets=[budget(requests=requests, per="day")], budget_store="memory")


def outcomes(telemetry: Telemetry) -> list[str]:
    """How each call ended."""
    found = [attributes_of(span) for span in telemetry.spans]
    return [one["genledger.outcome"] for one in found if "genledger.outcome" in one]


@pytest.fixture
def natively(monkeypatch: pytest.MonkeyPatch) -> Callable[[Telemetry], None]:
    """Send Semantic Kernel's own spans to a test's provider."""

    def send(telemetry: Telemetry) -> None:
        trace.set_tracer_provider(telemetry.tracer_provider)
        for module in map(importlib.import_module, TRACERS):
            monkeypatch.setattr(module, "tracer", telemetry.tracer_provider.get_tracer(module.__name__))

    return send


@pytest.fixture
def provider() -> Iterator[DemoProvider]:
    with DemoProvider(replies={QUESTION: "It is sunny."}) as provider:
        yield provider


@pytest.fixture
def telemetry(natively: Callable[[Telemetry], None]) -> Iterator[Telemetry]:
    with record() as telemetry, nothing_left(telemetry):
        natively(telemetry)
        yield telemetry


async def _response(agent: Any) -> None:
    await agent.get_response(QUESTION)


async def _invoked(agent: Any) -> None:
    async for _ in agent.invoke(QUESTION):
        assert get_current() == {}


async def _streamed(agent: Any) -> None:
    async for _ in agent.invoke_stream(QUESTION):
        assert get_current() == {}


WAYS = {"get_response": _response, "invoke": _invoked, "invoke_stream": _streamed}


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    before = get_current()
    async with an_agent(provider) as agent:
        await WAYS[way](agent)
    assert get_current() is before
    assert tree(telemetry.spans, kept=is_step_or_call) == RUN
    assert shown(telemetry.spans) == billed(provider)
    assert outcomes(telemetry) == ["success", "success"]


@pytest.mark.parametrize("way", WAYS)
async def test_beside_its_own_diagnostics_every_token_is_shown_once(
    telemetry: Telemetry, provider: DemoProvider, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (agent_diagnostics, model_diagnostics):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics", True)
    async with an_agent(provider) as agent:
        await WAYS[way](agent)
    assert tree(telemetry.spans, kept=is_step_or_call) == RUN.replace(CALL, f"{CALL}  {CALL}")
    assert shown(telemetry.spans) == billed(provider)
    ours = [span for span in telemetry.spans if "genledger.outcome" in (span.attributes or {})]
    assert len(ours) == len(provider.requests) == 2
    assert cost_shown(telemetry.spans) == cost_shown(ours) > 0


async def test_a_run_names_its_agent_its_conversation_and_the_call_of_its_tool(
    telemetry: Telemetry, provider: DemoProvider
) -> None:
    async with an_agent(provider) as agent:
        await agent.get_response(QUESTION, thread=ChatHistoryAgentThread(thread_id="t-1"))
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert (run["gen_ai.agent.name"], run["gen_ai.agent.id"]) == ("forecaster", "forecaster-1")
    assert (run["gen_ai.agent.description"], run["gen_ai.conversation.id"]) == ("Knows.", "t-1")
    assert telemetry.attributes_of("execute_tool Weather-weather")["gen_ai.tool.call.id"] == "call_demo00000001"


async def test_content_is_on_a_run_when_it_is_captured(provider: DemoProvider) -> None:
    with record(capture_content="span") as telemetry:
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert QUESTION in run["gen_ai.input.messages"]
    assert "It is sunny." in run["gen_ai.output.messages"]


async def test_runs_side_by_side_keep_their_calls(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as agent:
        await asyncio.gather(*(agent.get_response(QUESTION) for _ in range(3)))
    assert traces(telemetry.spans) == 3
    for run in {span.context.trace_id for span in telemetry.spans if span.context is not None}:
        mine = [span for span in telemetry.spans if span.context and span.context.trace_id == run]
        assert tree(mine, kept=is_step_or_call) == RUN


async def test_an_agent_as_a_plugin_is_inside_of_the_tool(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as inner:

        async def delegate(city: str) -> str:
            return str(await inner.get_response(QUESTION))

        async with an_agent(provider, plugin(delegate), name="outer") as outer:
            await outer.get_response(QUESTION)
    inside = "".join(f"    {line}\n" for line in RUN.splitlines())
    assert tree(telemetry.spans, kept=is_step_or_call) == RUN.replace("forecaster", "outer").replace(
        TOOL, TOOL + inside
    )
    assert shown(telemetry.spans) == billed(provider)


async def test_a_search_is_a_retrieval_around_its_embedding(telemetry: Telemetry, provider: DemoProvider) -> None:
    @vectorstoremodel
    @dataclass
    class Fact:
        id: Annotated[str, VectorStoreField("key")]
        vector: Annotated[Any, VectorStoreField("vector", type="float", dimensions=1536)] = None

    async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k") as client:
        embedding = OpenAITextEmbedding("text-embedding-3-small", async_client=client)
        facts: Any = InMemoryCollection(record_type=Fact, collection_name="facts", embedding_generator=embedding)
        await facts.ensure_collection_exists()
        await facts.upsert([Fact("1", [1.0] * 1536)])
        found = await facts.search("Paris", top=1)
        assert [one.record.id async for one in found.results] == ["1"]
    embedded = "embeddings text-embedding-3-small\n"
    assert tree(telemetry.spans, kept=is_step_or_call) == f"{embedded}retrieval facts\n  {embedded}"
    assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)


@pytest.mark.parametrize("kind", [SequentialOrchestration, ConcurrentOrchestration])
async def test_agents_together_belong_to_where_they_were_invoked(
    telemetry: Telemetry, provider: DemoProvider, kind: Any
) -> None:
    runtime = InProcessRuntime()
    runtime.start()
    async with an_agent(provider) as forecaster, an_agent(provider, name="editor") as editor:
        with genledger.attribution(tenant="acme"), genledger.observe("newsroom", kind="workflow"):
            result = await kind(members=[forecaster, editor]).invoke(QUESTION, runtime)
            await asyncio.wait_for(result.get(), 60)
        await runtime.stop_when_idle()
    spans = [span for span in telemetry.spans if is_step_or_call(span)]
    assert traces(spans) == 1
    assert {attributes_of(span).get("genledger.tenant.id") for span in spans} == {"acme"}
    runs = [span.name for span in spans if span.name.startswith("invoke")]
    assert sorted(runs) == ["invoke_agent editor", "invoke_agent forecaster", "invoke_workflow newsroom"]
    everything = tree(telemetry.spans, kept=is_step_or_call).splitlines()
    assert [line for line in everything if not line.startswith("  ")] == ["invoke_workflow newsroom"]
    assert shown(telemetry.spans) == billed(provider)


async def test_a_refusal_ends_agents_together(provider: DemoProvider) -> None:
    with refusing(1):
        runtime = InProcessRuntime()
        runtime.start()
        async with an_agent(provider, asking(provider)) as forecaster, an_agent(provider, name="editor") as editor:
            result = await SequentialOrchestration(members=[forecaster, editor]).invoke(QUESTION, runtime)
            with pytest.raises(genledger.BudgetExceeded):
                await asyncio.wait_for(result.get(), 60)
            await runtime.stop()
    assert len(provider.requests) == 1


async def test_a_run_takes_the_attribution_around_it(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as agent:
        with genledger.attribution(tenant="acme"):
            await agent.get_response(QUESTION)
    assert {attributes_of(span).get("genledger.tenant.id") for span in telemetry.spans} == {"acme"}


async def test_a_tool_that_fails_is_an_error_of_its_own(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def fail(city: str) -> str:
        raise ValueError("the tool's own")

    async with an_agent(provider, plugin(fail)) as agent:
        await agent.get_response(QUESTION)
    failed = {span.name: attributes_of(span).get("error.type") for span in telemetry.spans}
    assert failed.pop("execute_tool Weather-weather") == "ValueError"
    assert set(failed.values()) == {None}


async def test_a_model_that_fails_fails_the_run_with_the_same_error_as_before(telemetry: Telemetry) -> None:
    with DemoProvider(faults=[Fault("Paris", 500)]) as provider:
        async with an_agent(provider) as agent:
            with pytest.raises(ServiceResponseException) as raised:
                await agent.get_response(QUESTION)
    assert isinstance(raised.value.__cause__, openai.InternalServerError)
    assert telemetry.attributes_of("invoke_agent forecaster")["error.type"].endswith("ServiceResponseException")


async def test_a_cancelled_run_leaves_nothing_open(telemetry: Telemetry) -> None:
    with DemoProvider(latency=0.5) as provider:
        async with an_agent(provider) as agent:
            run = asyncio.create_task(agent.get_response(QUESTION))
            while not provider.requests:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
    assert outcomes(telemetry) == ["cancelled"]


async def test_the_run_of_a_stream_that_is_left_early_ends(provider: DemoProvider) -> None:
    with record() as telemetry:
        async with an_agent(provider) as agent:
            stream = agent.invoke_stream(QUESTION)
            async for _ in stream:
                break
            await stream.aclose()
            assert get_current() == {}
    assert "invoke_agent forecaster" in [span.name for span in telemetry.spans]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("admitted", [0, 1, 2])
async def test_a_budget_ends_the_run_at_its_first_refusal(provider: DemoProvider, way: str, admitted: int) -> None:
    """The second request is a tool's: its errors are otherwise told to the model."""
    with refusing(admitted) as telemetry, nothing_left(telemetry):
        async with an_agent(provider, asking(provider)) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await WAYS[way](agent)
    assert len(provider.requests) == admitted
    assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted


async def test_a_refusal_goes_through_a_kernels_function_with_its_name(provider: DemoProvider) -> None:
    with refusing(0):
        async with a_service(provider) as service:
            kernel = Kernel()
            kernel.add_service(service)
            with pytest.raises(genledger.BudgetExceeded):
                await kernel.invoke_prompt(QUESTION)


async def test_a_run_while_the_application_handles_a_refusal_fails_with_its_own_errors(provider: DemoProvider) -> None:
    with refusing(0), DemoProvider(faults=[Fault("Paris", 500)]):
        async with an_agent(provider) as agent:
            try:
                await agent.get_response(QUESTION)
            except genledger.BudgetExceeded:
                with pytest.raises(Exception, match="not found"):
                    Kernel().get_function("none", "none")


@pytest.mark.parametrize("diagnostics", [False, True])
@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_a_run_counts_in_budgets(
    provider: DemoProvider,
    limit: dict[str, Any],
    natively: Callable[[Telemetry], None],
    diagnostics: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the run's span is ours or its own."""
    for module in (agent_diagnostics, model_diagnostics):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics", diagnostics)
    with record(budgets=[budget(**limit)], budget_store="memory") as telemetry:
        natively(telemetry)
        async with an_agent(provider) as agent:
            for _ in range(2):  # each run has a limit of its own
                with pytest.raises(genledger.BudgetExceeded):
                    await agent.get_response(QUESTION)
    assert len(provider.requests) == 2


async def test_runs_inside_of_runs_count_in_budgets_of_depth(provider: DemoProvider) -> None:
    with record(budgets=[budget(depth=0)], budget_store="memory"):
        async with an_agent(provider) as inner:

            async def delegate(city: str) -> str:
                return str(await inner.get_response(QUESTION))

            async with an_agent(provider, plugin(delegate), name="outer") as outer:
                with pytest.raises(genledger.BudgetExceeded):
                    await outer.get_response(QUESTION)
    assert len(provider.requests) == 1


async def test_we_record_nothing_after_uninstrument(
    provider: DemoProvider, natively: Callable[[Telemetry], None]
) -> None:
    with record() as telemetry:
        natively(telemetry)
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
            count = len(telemetry.spans)
            genledger.uninstrument()
            await agent.get_response(QUESTION)
    later = [span.name for span in telemetry.spans[count:]]
    assert sorted(later) == ["AutoFunctionInvocationLoop", "execute_tool Weather-weather"]


async def test_tools_count_in_the_run(provider: DemoProvider, natively: Callable[[Telemetry], None]) -> None:
    """`repeats` counts the same tool call within a run: the tool's span is Semantic Kernel's own."""
    with record(budgets=[budget(repeats=0)], budget_store="memory") as telemetry:
        natively(telemetry)
        async with an_agent(provider) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.get_response(QUESTION)


@pytest.mark.parametrize("diagnostics", [False, True])
async def test_plumbing_and_content_are_hidden(
    provider: DemoProvider,
    natively: Callable[[Telemetry], None],
    diagnostics: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (agent_diagnostics, model_diagnostics):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics", diagnostics)
    shown = Destination()
    with record(destinations=[shown]) as telemetry:
        natively(telemetry)
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
    assert tree(shown.spans) == (RUN.replace(CALL, f"{CALL}  {CALL}") if diagnostics else RUN)
    assert_clean(shown.spans, allow=["gen_ai.agent.id", "gen_ai.provider.name"])


async def test_the_runtime_of_agents_together_is_hidden(
    provider: DemoProvider, natively: Callable[[Telemetry], None]
) -> None:
    shown = Destination()
    with record(destinations=[shown]) as telemetry:
        natively(telemetry)
        runtime = InProcessRuntime()
        runtime.start()
        async with an_agent(provider) as forecaster, an_agent(provider, name="editor") as editor:
            with genledger.observe("newsroom", kind="workflow"):
                result = await SequentialOrchestration(members=[forecaster, editor]).invoke(QUESTION, runtime)
                await asyncio.wait_for(result.get(), 60)
            await runtime.stop_when_idle()
    inside = "".join(f"  {line}\n" for line in (RUN + "invoke_agent editor\n" + CALL).splitlines())
    assert tree(shown.spans) == f"invoke_workflow newsroom\n{inside}"


async def test_what_a_failing_tool_says_is_shown_only_with_content(
    provider: DemoProvider, natively: Callable[[Telemetry], None]
) -> None:
    async def fail(city: str) -> str:
        raise ValueError(f"no {city}, ask a@example.com")

    said = {}
    for content in (None, "span"):
        shown = Destination()
        with record(destinations=[shown], **({"capture_content": content} if content else {})) as telemetry:
            natively(telemetry)
            async with an_agent(provider, plugin(fail)) as agent:
                await agent.get_response(QUESTION)
        (tool,) = (span for span in shown.spans if span.name == "execute_tool Weather-weather")
        said[content] = f"{tool.status.description} {[dict(event.attributes or {}) for event in tool.events]}"
    assert "Paris-75" not in said[None]
    assert "Paris-75" in said["span"]
    assert "a@example.com" not in said["span"]
