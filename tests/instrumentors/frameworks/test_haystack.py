"""Haystack: the trees of pipelines, components, agents and tools; beside a tracer of the application's own."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION, REPLIES
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    broken,
    cancelled,
    errors,
    in_thread,
    is_open,
    nothing_left,
    parents,
    read,
    refusing,
    slow,
    together,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("haystack", reason="haystack-ai has an environment of its own: make test-frameworks")

from examples.frameworks.haystack_agent import CITY, GIVEN, agent, model, pipeline
from haystack import Document, Pipeline, component, tracing
from haystack.components.generators.chat import FallbackChatGenerator
from haystack.components.rankers import LLMRanker
from haystack.core.errors import PipelineRuntimeError
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool

record = partial(instrumented, libraries=["openai", "haystack"])

MODEL = "chat gpt-4.1-mini"

AGENT = f"""\
invoke_agent {{}}
  {MODEL}
  execute_tool weather
  {MODEL}
"""

PIPELINE = f"""\
invoke_workflow Pipeline
  embedder
    embeddings text-embedding-3-small
  retrieval InMemoryEmbeddingRetriever
  prompt
  invoke_agent forecaster
    {MODEL}
    execute_tool weather
    {MODEL}
"""

ASKED = [ChatMessage.from_user(QUESTION)]


@pytest.fixture
def telemetry(telemetry: Telemetry, provider: DemoProvider) -> Iterator[Telemetry]:
    """In every test, each request is paid for once."""
    yield telemetry
    assert_billed_once(telemetry, provider)


async def _at_once(provider: DemoProvider, times: int) -> None:
    await together(*(pipeline(provider.openai_url).run_async(GIVEN) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, PIPELINE, hook=tracing.is_tracing_enabled)

WAYS: dict[str, Callable[[Pipeline], Any]] = {
    "run": lambda made: made.run(GIVEN),
    "run_async": lambda made: asyncio.run(made.run_async(GIVEN)),
    "run_async_generator": lambda made: asyncio.run(read(made.run_async_generator(GIVEN))),
    "in a thread": lambda made: in_thread(lambda: made.run(GIVEN)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_pipeline_has_its_tree(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    WAYS[way](pipeline(provider.openai_url))
    assert tree(telemetry.spans) == PIPELINE
    assert telemetry.attributes_of("execute_tool weather")["gen_ai.tool.call.id"].startswith("call_")
    assert telemetry.attributes_of("execute_tool weather")["gen_ai.tool.description"] == "Tells the weather."


def test_a_streamed_pipeline_has_its_tree(telemetry: Telemetry, provider: DemoProvider) -> None:
    async def streamed() -> None:
        streaming = model(provider.openai_url, streaming_callback=None, timeout=20.0)
        await read(pipeline(provider.openai_url, chat_generator=streaming).stream(copy.deepcopy(GIVEN)))

    asyncio.run(streamed())
    assert tree(telemetry.spans) == PIPELINE


AGENTS: dict[str, Callable[[DemoProvider], Any]] = {
    "run": lambda provider: agent(provider.openai_url).run(ASKED),
    "run_async": lambda provider: asyncio.run(agent(provider.openai_url).run_async(ASKED)),
    "streamed": lambda provider: agent(
        provider.openai_url, chat_generator=model(provider.openai_url, streaming_callback=lambda chunk: None)
    ).run(ASKED),
}


@pytest.mark.parametrize("way", AGENTS)
def test_an_agent_outside_of_a_pipeline_has_its_tree(telemetry: Telemetry, provider: DemoProvider, way: str) -> None:
    AGENTS[way](provider)
    assert tree(telemetry.spans) == AGENT.format("Agent")


@component
class Ask:
    """A component of the application's, that calls a function."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act

    @component.output_types(said=str)
    def run(self, text: str) -> dict[str, str]:
        """Call it."""
        return {"said": str(self.act())}


def asked(*acts: Callable[[], Any]) -> Pipeline:
    """A pipeline of components that do not wait for each other."""
    made = Pipeline()
    for number, act in enumerate(acts):
        made.add_component(f"part{number}", Ask(act))
    return made


def run_all(made: Pipeline, count: int) -> Any:
    """Run them at once."""
    return asyncio.run(made.run_async({f"part{number}": {"text": ""} for number in range(count)}))


def test_components_that_run_at_once_have_their_own_calls(telemetry: Telemetry, provider: DemoProvider) -> None:
    llm = model(provider.openai_url)
    run_all(asked(*[lambda: llm.run(ASKED)] * 3), 3)
    around = [parent for name, parent in parents(telemetry.spans) if name == MODEL]
    assert around == ["part0", "part1", "part2"]


def test_a_pipeline_in_a_component_and_a_block_of_the_application_are_nested(telemetry: Telemetry) -> None:
    def nested() -> None:
        with genledger.observe("mine"):
            asked(lambda: 1).run({"part0": {"text": ""}})

    asked(nested).run({"part0": {"text": ""}})
    assert tree(telemetry.spans) == (
        "invoke_workflow Pipeline\n  part0\n    mine\n      invoke_workflow Pipeline\n        part0\n"
    )


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    with pytest.raises(PipelineRuntimeError, match="the tool's own"):
        asked(lambda: broken("Paris")).run({"part0": {"text": ""}})
    assert errors(telemetry) == {
        "invoke_workflow Pipeline": "ValueError",
        "part0": "ValueError",
    }


def tool(function: Callable[..., Any]) -> Tool:
    """A tool that calls a function."""
    return Tool(name="weather", description="Tells the weather.", parameters=CITY, function=function)


def test_a_tools_error_that_the_model_is_told_of_is_on_its_step(telemetry: Telemetry, provider: DemoProvider) -> None:
    agent(provider.openai_url, tools=[tool(broken)]).run(ASKED)
    assert errors(telemetry) == {"execute_tool weather": "ValueError"}


def test_a_run_that_is_cancelled_ends_with_its_steps(telemetry: Telemetry) -> None:
    @component
    class Wait:
        """A component that waits."""

        @component.output_types(said=str)
        def run(self, text: str) -> dict[str, str]:
            """Not called."""
            return {"said": text}

        @component.output_types(said=str)
        async def run_async(self, text: str) -> dict[str, str]:
            """Wait."""
            return {"said": await slow(text)}

    made = Pipeline()
    made.add_component("wait", Wait())
    asyncio.run(cancelled(made.run_async({"wait": {"text": ""}}), is_open(telemetry, "wait")))
    assert tree(telemetry.spans) == "invoke_workflow Pipeline\n  wait\n"


def test_a_generator_that_is_abandoned_ends_its_pipeline(telemetry: Telemetry) -> None:
    async def abandoned() -> None:
        run = asked(lambda: 1).run_async_generator({"part0": {"text": ""}})
        async for _ in run:
            break
        await run.aclose()

    asyncio.run(abandoned())
    gc.collect()
    assert tree(telemetry.spans) == "invoke_workflow Pipeline\n  part0\n"


def test_a_ranker_is_a_task_around_its_model(telemetry: Telemetry, provider: DemoProvider) -> None:
    made = Pipeline()
    made.add_component("ranker", LLMRanker(chat_generator=model(provider.openai_url), raise_on_failure=False))
    made.run({"ranker": {"query": "Paris", "documents": [Document(content="one"), Document(content="two")]}})
    assert tree(telemetry.spans) == f"invoke_workflow Pipeline\n  ranker\n    {MODEL}\n"


@contextlib.contextmanager
def refused_after_one(provider: DemoProvider, **limit: Any) -> Iterator[None]:
    """Assert that what is done, for a tenant that has a budget, is refused after one call of the model."""
    with (
        refusing(record, tenant="acme", **limit),
        genledger.attribution(tenant="acme"),
        pytest.raises(genledger.BudgetExceeded),
    ):
        yield
    assert len([request for request in provider.requests if "chat" in request.path]) == 1


STEPS: dict[str, Any] = {"steps": 1, "per": "run"}
REQUESTS: dict[str, Any] = {"requests": 1, "per": "day"}


@pytest.mark.parametrize("limit", [STEPS, REQUESTS], ids=["steps", "requests"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_refusal_ends_an_agents_run_under_its_own_name(
    provider: DemoProvider, limit: dict[str, Any], asynchronous: bool
) -> None:
    with refused_after_one(provider, **limit):
        one = agent(provider.openai_url)
        asyncio.run(one.run_async(ASKED)) if asynchronous else one.run(ASKED)


def test_a_refusal_in_a_tool_ends_an_agents_run(provider: DemoProvider) -> None:
    llm = model(provider.openai_url)
    with refused_after_one(provider, **REQUESTS):
        agent(provider.openai_url, tools=[tool(lambda city: llm.run(ASKED))]).run(ASKED)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_refusal_leaves_a_pipeline_unwrapped(provider: DemoProvider, asynchronous: bool) -> None:
    made = Pipeline()
    made.add_component("forecaster", agent(provider.openai_url))
    given = {"forecaster": {"messages": ASKED}}
    with refused_after_one(provider, **STEPS):
        asyncio.run(made.run_async(given)) if asynchronous else made.run(given)


def test_a_refusal_is_not_followed_by_another_model(provider: DemoProvider) -> None:
    llm = FallbackChatGenerator([model(provider.openai_url), model(provider.openai_url)])
    with refused_after_one(provider, **REQUESTS):
        llm.run(ASKED)
        llm.run(ASKED)


@pytest.mark.parametrize("content", [False, True])
def test_content_is_written_only_where_it_is_captured(provider: DemoProvider, content: bool) -> None:
    with record(capture_content=content) as telemetry, nothing_left(telemetry):
        pipeline(provider.openai_url).run(GIVEN)
        assert_clean(telemetry.spans, capture_content=content)
        written = {span.name: attributes_of(span) for span in telemetry.spans}
        for span, name, said in (
            ("invoke_workflow Pipeline", "gen_ai.input.messages", QUESTION),
            ("invoke_agent forecaster", "gen_ai.input.messages", QUESTION),
            ("invoke_agent forecaster", "gen_ai.output.messages", REPLIES[QUESTION]),
            ("execute_tool weather", "gen_ai.tool.call.arguments", "Paris-75"),
            ("execute_tool weather", "gen_ai.tool.call.result", "sunny in Paris-75"),
            ("retrieval InMemoryEmbeddingRetriever", "gen_ai.retrieval.documents", "Paris-75 is the capital"),
            ("prompt", "genledger.task.arguments", "Paris-75 is the capital"),
            ("prompt", "genledger.task.result", "Paris-75 is the capital"),
        ):
            assert (said in str(written[span].get(name))) is content, (span, name)
        assert "embedding" not in str(written["retrieval InMemoryEmbeddingRetriever"].get("gen_ai.retrieval.documents"))


class OwnSpan(tracing.Span):
    """A span of the application's tracer."""

    def __init__(self, name: str, parent: Any) -> None:
        self.name = name
        self.parent = parent
        self.tags: dict[str, Any] = {}

    def set_tag(self, key: str, value: Any) -> None:
        """Keep a tag."""
        self.tags[key] = value


class OwnTracer(tracing.Tracer):
    """A tracer of the application's."""

    def __init__(self) -> None:
        self.spans: list[OwnSpan] = []
        self.current: list[OwnSpan] = []

    @contextlib.contextmanager
    def trace(self, operation_name: str, tags: Any = None, parent_span: Any = None) -> Iterator[OwnSpan]:
        """Keep a span."""
        assert parent_span is None or type(parent_span) is OwnSpan
        span = OwnSpan(operation_name, parent_span)
        self.spans.append(span)
        self.current.append(span)
        try:
            yield span
        finally:
            self.current.remove(span)

    def current_span(self) -> OwnSpan | None:
        """Return the last one."""
        return self.current[-1] if self.current else None


@pytest.mark.parametrize("first", [False, True])
def test_a_tracer_of_the_application_sees_what_it_would_see_alone(provider: DemoProvider, first: bool) -> None:
    def traced(tracer: OwnTracer) -> list[Any]:
        seen: list[Any] = []
        made = asked(lambda: seen.append(tracing.tracer.current_span()))
        made.run({"part0": {"text": ""}})
        assert isinstance(seen[0], OwnSpan)
        assert seen[0].name == "haystack.component.run"
        parents = [getattr(span.parent, "name", None) for span in tracer.spans]
        return list(
            zip([span.name for span in tracer.spans], parents, [span.tags for span in tracer.spans], strict=True)
        )

    try:
        alone = OwnTracer()
        tracing.enable_tracing(alone)
        before = traced(alone)
        beside = OwnTracer()
        if first:
            tracing.enable_tracing(beside)
        with record() as telemetry, nothing_left(telemetry):
            if not first:
                tracing.enable_tracing(beside)
            assert traced(beside) == before
            assert tree(telemetry.spans) == "invoke_workflow Pipeline\n  part0\n"
        assert tracing.tracer.actual_tracer is beside
    finally:
        tracing.disable_tracing()


def test_a_parent_of_another_tracer_is_no_parent_of_ours(telemetry: Telemetry) -> None:
    with tracing.tracer.trace("haystack.agent.run", parent_span=tracing.tracer.current_span()):
        pass
    with tracing.tracer.trace("of the application", {"any": object()}) as span:
        span.set_content_tag("any.input", object())
    assert tree(telemetry.spans) == "invoke_agent Agent\n"
