"""Semantic Kernel: runs of agents around its functions' own spans, and a budget's refusal ends them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import openai
import pytest
from examples.demo.provider import DemoProvider, Fault
from examples.frameworks.traced import QUESTION, REPLIES
from opentelemetry.context import get_current
from tests.instrumentors.destination import Destination
from tests.instrumentors.frameworks.native import native
from tests.instrumentors.frameworks.runs import (
    Framework,
    asking_async,
    assert_billed_once,
    cancelled,
    errors,
    indented,
    is_step_or_call,
    outcomes,
    read,
    refusing,
    tenants,
    together,
    traces,
    tree,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger
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

LIBRARIES = ["openai", "semantic-kernel"]

record = partial(native, libraries=LIBRARIES)

alone = partial(instrumented, libraries=LIBRARIES)
"""Where nobody listens to the framework's own spans."""

CALL = "  chat gpt-4.1-mini\n"
TOOL = "  execute_tool Weather-weather\n"
RUN = f"invoke_agent forecaster\n{CALL}{TOOL}{CALL}"


class Weather:
    """A plugin."""

    @kernel_function
    def weather(self, city: str) -> str:
        """Say what the weather is like in a city."""
        return weather(city)


def asking(provider: DemoProvider) -> Any:
    """A plugin that asks the model by itself."""
    return plugin(asking_async(provider))


def plugin(act: Callable[[str], Awaitable[Any]]) -> Any:
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


async def _at_once(provider: DemoProvider, times: int) -> None:
    async with an_agent(provider) as agent:
        await together(*(agent.get_response(QUESTION) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, RUN, is_step_or_call)


def diagnose(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    """Switch Semantic Kernel's own diagnostics on or off."""
    for module in (agent_diagnostics, model_diagnostics):
        monkeypatch.setattr(module.MODEL_DIAGNOSTICS_SETTINGS, "enable_otel_diagnostics", on)


async def _response(agent: Any) -> None:
    await agent.get_response(QUESTION)


async def _invoked(agent: Any) -> None:
    await read(agent.invoke(QUESTION))


async def _streamed(agent: Any) -> None:
    await read(agent.invoke_stream(QUESTION))


WAYS = {"get_response": _response, "invoke": _invoked, "invoke_stream": _streamed}


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_has_its_tree_however_it_is_called(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    before = get_current()
    async with an_agent(provider) as agent:
        await WAYS[way](agent)
    assert get_current() is before
    assert tree(telemetry.spans, kept=is_step_or_call) == RUN
    assert_billed_once(telemetry, provider)
    assert outcomes(telemetry) == ["success", "success"]


@pytest.mark.parametrize("way", WAYS)
async def test_beside_its_own_diagnostics_every_token_is_shown_once(
    telemetry: Telemetry, provider: DemoProvider, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    diagnose(monkeypatch, True)
    async with an_agent(provider) as agent:
        await WAYS[way](agent)
    assert tree(telemetry.spans, kept=is_step_or_call) == RUN.replace(CALL, f"{CALL}  {CALL}")
    assert len(outcomes(telemetry)) == 2
    assert_billed_once(telemetry, provider)


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
    with alone(capture_content="span") as telemetry:
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
    run = telemetry.attributes_of("invoke_agent forecaster")
    assert QUESTION in run["gen_ai.input.messages"]
    assert REPLIES[QUESTION] in run["gen_ai.output.messages"]


async def test_an_agent_as_a_plugin_is_inside_of_the_tool(telemetry: Telemetry, provider: DemoProvider) -> None:
    async with an_agent(provider) as inner:

        async def delegate(city: str) -> str:
            return str(await inner.get_response(QUESTION))

        async with an_agent(provider, plugin(delegate), name="outer") as outer:
            await outer.get_response(QUESTION)
    around = RUN.replace("forecaster", "outer")
    assert tree(telemetry.spans, kept=is_step_or_call) == around.replace(TOOL, TOOL + indented(RUN, 2))
    assert_billed_once(telemetry, provider)


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
    assert tenants(spans) == {"acme"}
    runs = [span.name for span in spans if span.name.startswith("invoke")]
    assert sorted(runs) == ["invoke_agent editor", "invoke_agent forecaster", "invoke_workflow newsroom"]
    everything = tree(telemetry.spans, kept=is_step_or_call).splitlines()
    assert [line for line in everything if not line.startswith("  ")] == ["invoke_workflow newsroom"]
    assert_billed_once(telemetry, provider)


async def test_a_refusal_ends_agents_together(provider: DemoProvider) -> None:
    with refusing(alone, requests=1, per="day"):
        runtime = InProcessRuntime()
        runtime.start()
        async with (
            an_agent(provider, asking(provider)) as forecaster,
            an_agent(provider, name="editor") as editor,
        ):
            result = await SequentialOrchestration(members=[forecaster, editor]).invoke(QUESTION, runtime)
            with pytest.raises(genledger.BudgetExceeded):
                await asyncio.wait_for(result.get(), 60)
            await runtime.stop()
    assert len(provider.requests) == 1


async def test_a_tool_that_fails_is_an_error_of_its_own(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def fail(city: str) -> str:
        raise ValueError("the tool's own")

    async with an_agent(provider, plugin(fail)) as agent:
        await agent.get_response(QUESTION)
    assert errors(telemetry) == {"execute_tool Weather-weather": "ValueError"}


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
            await cancelled(agent.get_response(QUESTION), lambda: provider.requests)
    assert outcomes(telemetry) == ["cancelled"]


async def test_the_run_of_a_stream_that_is_left_early_ends(provider: DemoProvider) -> None:
    with alone() as telemetry:
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
    with refusing(alone, requests=admitted, per="day") as telemetry:
        async with an_agent(provider, asking(provider)) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await WAYS[way](agent)
    assert len(provider.requests) == admitted
    assert sorted(outcomes(telemetry)) == ["blocked"] + ["success"] * admitted


async def test_a_refusal_goes_through_a_kernels_function_with_its_name(provider: DemoProvider) -> None:
    with refusing(alone, requests=0, per="day"):
        async with a_service(provider) as service:
            kernel = Kernel()
            kernel.add_service(service)
            with pytest.raises(genledger.BudgetExceeded):
                await kernel.invoke_prompt(QUESTION)


async def test_a_run_while_the_application_handles_a_refusal_fails_with_its_own_errors(provider: DemoProvider) -> None:
    with refusing(alone, requests=0, per="day"), DemoProvider(faults=[Fault("Paris", 500)]):
        async with an_agent(provider) as agent:
            try:
                await agent.get_response(QUESTION)
            except genledger.BudgetExceeded:
                with pytest.raises(Exception, match="not found"):
                    Kernel().get_function("none", "none")


@pytest.mark.parametrize("limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "run"}])
async def test_a_run_beside_its_own_diagnostics_counts_in_budgets(
    provider: DemoProvider, limit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run's span is its own then."""
    diagnose(monkeypatch, True)
    with refusing(record, **limit):
        async with an_agent(provider) as agent:
            for _ in range(2):  # each run has a limit of its own
                with pytest.raises(genledger.BudgetExceeded):
                    await agent.get_response(QUESTION)
    assert len(provider.requests) == 2


async def test_runs_inside_of_runs_count_in_budgets_of_depth(provider: DemoProvider) -> None:
    with refusing(alone, depth=0):
        async with an_agent(provider) as inner:

            async def delegate(city: str) -> str:
                return str(await inner.get_response(QUESTION))

            async with an_agent(provider, plugin(delegate), name="outer") as outer:
                with pytest.raises(genledger.BudgetExceeded):
                    await outer.get_response(QUESTION)
    assert len(provider.requests) == 1


async def test_we_record_nothing_after_uninstrument(provider: DemoProvider) -> None:
    with record() as telemetry:
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
            count = len(telemetry.spans)
            genledger.uninstrument()
            await agent.get_response(QUESTION)
    later = [span.name for span in telemetry.spans[count:]]
    assert sorted(later) == ["AutoFunctionInvocationLoop", "execute_tool Weather-weather"]


async def test_tools_count_in_the_run(provider: DemoProvider) -> None:
    """`repeats` counts the same tool call within a run: the tool's span is Semantic Kernel's own."""
    with refusing(record, repeats=0):
        async with an_agent(provider) as agent:
            with pytest.raises(genledger.BudgetExceeded):
                await agent.get_response(QUESTION)


@pytest.mark.parametrize("diagnostics", [False, True])
async def test_plumbing_and_content_are_hidden(
    provider: DemoProvider,
    diagnostics: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diagnose(monkeypatch, diagnostics)
    shown = Destination()
    with record(destinations=[shown]):
        async with an_agent(provider) as agent:
            await agent.get_response(QUESTION)
    assert tree(shown.spans) == (RUN.replace(CALL, f"{CALL}  {CALL}") if diagnostics else RUN)
    assert_clean(shown.spans, allow=["gen_ai.agent.id", "gen_ai.provider.name"])


async def test_the_runtime_of_agents_together_is_hidden(provider: DemoProvider) -> None:
    shown = Destination()
    with record(destinations=[shown]):
        runtime = InProcessRuntime()
        runtime.start()
        async with an_agent(provider) as forecaster, an_agent(provider, name="editor") as editor:
            with genledger.observe("newsroom", kind="workflow"):
                result = await SequentialOrchestration(members=[forecaster, editor]).invoke(QUESTION, runtime)
                await asyncio.wait_for(result.get(), 60)
            await runtime.stop_when_idle()
    inside = indented(f"{RUN}invoke_agent editor\n{CALL}", 1)
    assert tree(shown.spans) == f"invoke_workflow newsroom\n{inside}"


async def test_what_a_failing_tool_says_is_shown_only_with_content(provider: DemoProvider) -> None:
    async def fail(city: str) -> str:
        raise ValueError(f"no {city}, ask a@example.com")

    said = {}
    for content in (None, "span"):
        shown = Destination()
        with record(destinations=[shown], **({"capture_content": content} if content else {})):
            async with an_agent(provider, plugin(fail)) as agent:
                await agent.get_response(QUESTION)
        (tool,) = (span for span in shown.spans if span.name == "execute_tool Weather-weather")
        said[content] = f"{tool.status.description} {[dict(event.attributes or {}) for event in tool.events]}"
    assert "Paris-75" not in said[None]
    assert "Paris-75" in said["span"]
    assert "a@example.com" not in said["span"]
