"""LlamaIndex: the trees of queries, retrievals, agents, tools, chats and workflows; every call priced once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION, REPLIES
from opentelemetry.context import get_current
from tests.instrumentors.frameworks.runs import (
    Framework,
    assert_billed_once,
    broken,
    errors,
    in_thread,
    indented,
    is_open,
    nothing_left,
    parents,
    read,
    refusing,
    slow,
    together,
    tree,
    trees,
    until,
    weather,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("llama_index.core", reason="llama-index-core has an environment of its own: make test-frameworks")
pytest.importorskip("llama_index.llms.openai", reason="it has an environment of its own: make test-frameworks")

from examples.frameworks.llamaindex_agent import agent, index, model
from llama_index.core import VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.postprocessor import LLMRerank
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from llama_index.core.workflow.retry_policy import ConstantDelayRetryPolicy
from llama_index_instrumentation.dispatcher import instrument_tags

record = partial(instrumented, libraries=["openai", "llama-index"])

MODEL = "chat gpt-4.1-mini"

QUERY = f"""\
invoke_workflow RetrieverQueryEngine
  retrieval VectorIndexRetriever
    embeddings text-embedding-ada-002
  {MODEL}
"""


AGENT = f"""\
invoke_agent forecaster
  {MODEL}
  execute_tool atlas
{indented(QUERY, 2)}  {MODEL}
"""


@pytest.fixture
def cities(provider: DemoProvider) -> VectorStoreIndex:
    made = index(provider.openai_url)
    provider.requests.clear()
    return made


@pytest.fixture
def telemetry(cities: VectorStoreIndex, telemetry: Telemetry, provider: DemoProvider) -> Iterator[Telemetry]:
    """In every test, each request is paid for once: those that make the index are before."""
    yield telemetry
    assert_billed_once(telemetry, provider)


async def _at_once(provider: DemoProvider, times: int) -> None:
    one = FunctionAgent(name="forecaster", llm=model(provider.openai_url), tools=[weather])
    await together(*(run(one, QUESTION) for _ in range(times)))


FRAMEWORK = Framework(
    record,
    _at_once,
    f"invoke_agent forecaster\n  {MODEL}\n  execute_tool weather\n  {MODEL}\n",
    hook=lambda: (len(get_dispatcher().span_handlers), len(get_dispatcher().event_handlers)),
)


async def run(runnable: Any, *args: Any, **given: Any) -> Any:
    """Run an agent or workflow in a loop of its own."""
    return await runnable.run(*args, **given)


@pytest.mark.parametrize("streaming", [False, True])
def test_an_agent_has_its_tree(
    telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex, streaming: bool
) -> None:
    assert str(asyncio.run(run(agent(provider.openai_url, cities, streaming=streaming), QUESTION))) == REPLIES[QUESTION]
    assert tree(telemetry.spans) == AGENT
    assert telemetry.attributes_of("invoke_agent forecaster")["gen_ai.agent.description"] == "Tells the weather."
    assert telemetry.attributes_of("execute_tool atlas")["gen_ai.tool.call.id"].startswith("call_")


def test_the_events_of_an_agent_can_be_read_while_it_runs(
    telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex
) -> None:
    async def follow() -> None:
        handler = agent(provider.openai_url, cities).run(QUESTION)
        await read(handler.stream_events())
        await handler

    asyncio.run(follow())
    assert tree(telemetry.spans) == AGENT


def test_agents_that_run_at_once_have_trees_of_their_own(
    telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex
) -> None:
    async def several() -> None:
        await asyncio.gather(*(agent(provider.openai_url, cities).run(QUESTION) for _ in range(3)))

    asyncio.run(several())
    assert trees(telemetry.spans) == [AGENT] * 3


def ask(engine: Any) -> Any:
    """A query in the plain way."""
    return engine.query("What is Paris-75?")


QUERIES: dict[str, Callable[[Any], Any]] = {
    "query": ask,
    "aquery": lambda engine: asyncio.run(engine.aquery("What is Paris-75?")),
    "in a thread": lambda engine: in_thread(lambda: ask(engine)),
}


@pytest.mark.parametrize("way", QUERIES)
def test_a_query_has_its_tree(telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex, way: str) -> None:
    QUERIES[way](cities.as_query_engine(llm=model(provider.openai_url)))
    assert tree(telemetry.spans) == QUERY


async def read_async(engine: Any) -> None:
    """Read a streamed answer in tasks."""
    await read((await engine.aquery("What is Paris-75?")).response_gen)


@pytest.mark.parametrize(
    "read",
    [
        lambda engine: [get_current() for _ in ask(engine).response_gen],
        lambda engine: str(ask(engine)),
        lambda engine: asyncio.run(read_async(engine)),
    ],
    ids=["generator", "text", "async"],
)
def test_an_answer_that_is_read_after_the_query_returned_belongs_to_it(
    telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex, read: Callable[[Any], Any]
) -> None:
    seen = read(cities.as_query_engine(llm=model(provider.openai_url), streaming=True))
    assert not isinstance(seen, list) or all(context == {} for context in seen)
    assert tree(telemetry.spans) == QUERY


@pytest.mark.parametrize("items", [0, 1])
def test_a_query_whose_answer_is_dropped_ends(provider: DemoProvider, cities: VectorStoreIndex, items: int) -> None:
    with record() as telemetry, nothing_left(telemetry):
        stream = ask(cities.as_query_engine(llm=model(provider.openai_url), streaming=True)).response_gen
        for _ in range(items):
            next(stream)
        del stream
        assert tree(telemetry.spans) == "".join(QUERY.splitlines(keepends=True)[: 3 + items])


CHAT = f"""\
invoke_workflow ContextChatEngine
  retrieval VectorIndexRetriever
    embeddings text-embedding-ada-002
  {MODEL}
"""


async def chat_async(engine: Any) -> None:
    """A chat in tasks, streamed."""
    answer = await engine.astream_chat("Hello")
    async for _ in answer.async_response_gen():
        pass


CHATS: dict[str, Callable[[Any], Any]] = {
    "chat": lambda engine: engine.chat("Hello"),
    "achat": lambda engine: asyncio.run(engine.achat("Hello")),
    "stream_chat": lambda engine: list(engine.stream_chat("Hello").response_gen),
    "astream_chat": lambda engine: asyncio.run(chat_async(engine)),
}


@pytest.mark.parametrize("way", CHATS)
def test_a_chat_has_its_tree(telemetry: Telemetry, provider: DemoProvider, cities: VectorStoreIndex, way: str) -> None:
    CHATS[way](cities.as_chat_engine(chat_mode="context", llm=model(provider.openai_url)))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(20)
    assert tree(telemetry.spans) == CHAT


class Found(Event):
    """Between two steps."""

    text: str = ""


class Flow(Workflow):
    """A workflow of the application's."""

    def __init__(self, act: Callable[[], Any], **options: Any) -> None:
        super().__init__(**options)
        self.act = act

    @step
    async def look_up(self, ev: StartEvent) -> Found:
        """Do the work."""
        result = self.act()
        if asyncio.iscoroutine(result):
            await result
        return Found()

    @step
    async def answer(self, ev: Found) -> StopEvent:
        """End."""
        return StopEvent(result="done")


def test_the_steps_of_a_workflow_are_tasks(telemetry: Telemetry, provider: DemoProvider) -> None:
    llm = model(provider.openai_url)
    assert asyncio.run(run(Flow(lambda: llm.achat([ChatMessage("hi")])))) == "done"
    assert tree(telemetry.spans) == f"invoke_workflow Flow\n  look_up\n    {MODEL}\n  answer\n"


class Parallel(Workflow):
    """Two branches at once."""

    @step
    async def begin(self, ctx: Context, ev: StartEvent) -> Found | None:
        """Send two events."""
        for text in ("a", "b"):
            ctx.send_event(Found(text=text))
        return None

    @step(num_workers=2)
    async def branch(self, ctx: Context, ev: Found) -> StopEvent | None:
        """Run a tool, and end after the second."""
        await FunctionTool.from_defaults(lambda x: x, name=ev.text).acall(x=ev.text)
        return StopEvent(result="done") if ctx.collect_events(ev, [Found, Found]) else None


def test_parallel_branches_belong_to_their_own(telemetry: Telemetry) -> None:
    asyncio.run(run(Parallel()))
    tools = [span for span in telemetry.spans if span.name.startswith("execute_tool")]
    assert len({span.parent.span_id for span in tools if span.parent is not None}) == 2
    around = [pair for pair in parents(telemetry.spans) if "tool" in pair[0]]
    assert around == [("execute_tool a", "branch"), ("execute_tool b", "branch")]


def test_a_block_of_the_application_in_a_step_is_nearer_than_the_step(telemetry: Telemetry) -> None:
    def act() -> None:
        with genledger.observe("mine"):
            FunctionTool.from_defaults(lambda: 1, name="one")()

    asyncio.run(run(Flow(act)))
    assert "    mine\n      execute_tool one\n" in tree(telemetry.spans)


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    with pytest.raises(ValueError, match="the tool's own"):
        asyncio.run(run(Flow(lambda: broken("Paris"))))
    assert errors(telemetry) == {
        "invoke_workflow Flow": "ValueError",
        "look_up": "ValueError",
    }


def test_a_tools_error_that_the_model_is_told_of_is_on_its_step(telemetry: Telemetry, provider: DemoProvider) -> None:
    asyncio.run(run(FunctionAgent(name="forecaster", llm=model(provider.openai_url), tools=[broken]), QUESTION))
    assert errors(telemetry) == {"execute_tool broken": "ValueError"}


def test_a_run_that_is_cancelled_ends_with_its_steps(telemetry: Telemetry) -> None:
    async def stopped() -> None:
        handler = Flow(lambda: slow("Paris"), timeout=None).run()
        await until(is_open(telemetry, "look_up"))
        await handler.cancel_run()
        with pytest.raises(BaseException, match=r".*"):
            await handler

    asyncio.run(stopped())
    assert tree(telemetry.spans) == "invoke_workflow Flow\n  look_up\n"


def test_the_turns_of_agents_are_agents_and_a_handoff_is_a_task(telemetry: Telemetry, provider: DemoProvider) -> None:
    llm = model(provider.openai_url)
    agents = [
        FunctionAgent(name="desk-75", description="Asks others.", llm=llm, tools=[], can_handoff_to=["forecaster"]),
        FunctionAgent(name="forecaster", description="Tells the weather.", llm=llm, tools=[weather]),
    ]
    asyncio.run(run(AgentWorkflow(agents=agents, root_agent="desk-75"), QUESTION))
    shape = tree(telemetry.spans)
    assert shape.startswith(f"invoke_workflow AgentWorkflow\n  invoke_agent desk-75\n    {MODEL}\n    handoff\n")


def test_a_rerank_is_a_task_around_its_model(telemetry: Telemetry, provider: DemoProvider) -> None:
    nodes = [NodeWithScore(node=TextNode(text=f"text {number}"), score=0.5) for number in range(2)]
    rerank = LLMRerank(llm=model(provider.openai_url), parse_choice_select_answer_fn=lambda answer, count: ([1], [1.0]))
    rerank.postprocess_nodes(nodes, query_str="Paris")
    assert tree(telemetry.spans) == f"LLMRerank\n  {MODEL}\n"


class Local(CustomLLM):
    """A model that no client of ours asks."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4o")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **more: Any) -> CompletionResponse:
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        return CompletionResponse(text="hello", raw={"model": "gpt-4o", "usage": usage})

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **more: Any) -> Any:
        answer = self.complete(prompt)
        return (one for one in [answer])


@pytest.mark.parametrize(
    "call",
    [
        lambda llm: llm.chat([ChatMessage("hi")]),
        lambda llm: llm.complete("hi"),
        lambda llm: list(llm.stream_chat([ChatMessage("hi")])),
    ],
    ids=["chat", "complete", "stream"],
)
def test_a_model_without_an_instrumented_client_is_priced_once_by_the_usage_of_its_answer(
    call: Callable[[Any], Any],
) -> None:
    with record() as telemetry, nothing_left(telemetry):
        call(Local())
        assert telemetry.attributes["gen_ai.usage.input_tokens"] == 1000
        assert telemetry.attributes["gen_ai.usage.output_tokens"] == 500


@pytest.mark.parametrize(
    "limit", [{"steps": 1, "per": "run"}, {"requests": 1, "per": "day"}], ids=["steps", "requests"]
)
def test_a_refusal_ends_an_agents_run_under_its_own_name(
    provider: DemoProvider, cities: VectorStoreIndex, limit: dict[str, Any]
) -> None:
    with refusing(record, tenant="acme", **limit), genledger.attribution(tenant="acme"):
        with pytest.raises(genledger.BudgetExceeded):
            asyncio.run(run(agent(provider.openai_url, cities, tools=[FunctionTool.from_defaults(weather)]), QUESTION))
        assert len([request for request in provider.requests if "chat" in request.path]) == 1


def test_a_refusal_is_not_retried_by_a_steps_policy(provider: DemoProvider) -> None:
    llm = model(provider.openai_url)
    attempts = []

    class Retrying(Workflow):
        """A workflow that retries."""

        @step(retry_policy=ConstantDelayRetryPolicy(maximum_attempts=3, delay=0))
        async def answer(self, ev: StartEvent) -> StopEvent:
            """Ask twice."""
            attempts.append(1)
            await llm.achat([ChatMessage("hi")])
            await llm.achat([ChatMessage("hi")])
            return StopEvent(result="done")

    with refusing(record, steps=1, per="run"):
        with pytest.raises(genledger.BudgetExceeded):
            asyncio.run(run(Retrying()))
        assert len(attempts) == 1


@pytest.mark.parametrize("content", [False, True])
def test_content_is_written_only_where_it_is_captured(
    provider: DemoProvider, cities: VectorStoreIndex, content: bool
) -> None:
    with record(capture_content=content) as telemetry, nothing_left(telemetry):
        asyncio.run(run(agent(provider.openai_url, cities), QUESTION))
        assert_clean(telemetry.spans, capture_content=content)
        written = {span.name: attributes_of(span) for span in telemetry.spans}
        for span, name, said in (
            ("invoke_agent forecaster", "gen_ai.input.messages", QUESTION),
            ("invoke_agent forecaster", "gen_ai.output.messages", REPLIES[QUESTION]),
            ("execute_tool atlas", "gen_ai.tool.call.arguments", "75"),
            ("execute_tool atlas", "gen_ai.tool.call.result", "sunny"),
            ("invoke_workflow RetrieverQueryEngine", "gen_ai.input.messages", "75"),
            ("invoke_workflow RetrieverQueryEngine", "gen_ai.output.messages", "sunny"),
            ("retrieval VectorIndexRetriever", "gen_ai.retrieval.query.text", "75"),
            ("retrieval VectorIndexRetriever", "gen_ai.retrieval.documents", "Paris-75 is the capital"),
        ):
            assert (said in str(written[span].get(name))) is content, (span, name)


def test_tags_attribute_a_run_where_the_application_did_not(telemetry: Telemetry, cities: VectorStoreIndex) -> None:
    with instrument_tags({"user_id": "u-1", "session_id": "s-1"}):
        cities.as_retriever().retrieve("Paris")
    assert [(attributes_of(one)["user.id"], attributes_of(one)["session.id"]) for one in telemetry.spans] == [
        ("u-1", "s-1")
    ] * 2


def test_what_llamaindex_says_of_unknown_spans_is_ignored(telemetry: Telemetry) -> None:
    import inspect

    def given(query: str) -> None: ...

    arguments = inspect.signature(given).bind("Paris")
    dispatcher = get_dispatcher()
    dispatcher.span_exit(id_="Nobody.query-1", bound_args=arguments)
    dispatcher.span_drop(id_="Nobody.query-2", bound_args=arguments, err=ValueError("never began"))
    dispatcher.span_enter(id_="short", bound_args=arguments, parent_id="unknown")
    dispatcher.span_exit(id_="short", bound_args=arguments)
    assert not telemetry.spans


def test_nothing_is_recorded_after_uninstrument(provider: DemoProvider, cities: VectorStoreIndex) -> None:
    handlers = len(get_dispatcher().span_handlers), len(get_dispatcher().event_handlers)
    with record() as telemetry:
        cities.as_retriever().retrieve("Paris")
        count = len(telemetry.spans)
    with instrumented(libraries=["openai"]) as other:
        cities.as_retriever().retrieve("Paris")
        assert tree(other.spans) == "embeddings text-embedding-ada-002\n"
    assert len(telemetry.spans) == count == 2
    assert (len(get_dispatcher().span_handlers), len(get_dispatcher().event_handlers)) == handlers
