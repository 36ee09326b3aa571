"""LangChain's agents and models, and LangGraph's graphs, on a provider: one tree, every request paid for once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypedDict

import pytest
from examples.demo.provider import DemoProvider
from examples.frameworks.traced import QUESTION
from tests.instrumentors.frameworks.runs import (
    RULE,
    Framework,
    assert_billed_once,
    cancelled,
    indented,
    nothing_left,
    outcomes,
    read,
    refusing,
    slow,
    together,
    traces,
    tree,
)
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger

pytest.importorskip("langchain_openai", reason="langchain has an environment of its own: make test-frameworks")
pytest.importorskip("langchain.agents", reason="langchain has an environment of its own: make test-frameworks")

from examples.frameworks.langgraph_agent import graph, weather
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, RetryPolicy, interrupt

record = partial(instrumented, libraries=["openai", "langchain"])

ASKED = {"messages": [("user", QUESTION)]}

AGENT = """\
invoke_agent forecaster
  model
    chat gpt-4.1-mini
  tools
    execute_tool weather
  model
    chat gpt-4.1-mini
"""

TREE = f"""\
invoke_workflow LangGraph
  look_up
    retrieval VectorStoreRetriever
      embeddings text-embedding-ada-002
{indented(AGENT, 1)}\
"""
"""Of the program `examples/frameworks/langgraph_agent.py`."""


async def _at_once(provider: DemoProvider, times: int) -> None:
    one = create_agent(chat(provider), [weather], name="forecaster")
    await together(*(one.ainvoke(ASKED) for _ in range(times)))


FRAMEWORK = Framework(record, _at_once, AGENT)


@pytest.fixture
def program(provider: DemoProvider, telemetry: Telemetry) -> Any:
    """The program's graph, whose documents are in the store."""
    made = graph(provider.openai_url)
    provider.requests.clear()
    telemetry.clear()
    return made


def chat(provider: DemoProvider, **more: Any) -> ChatOpenAI:
    """A chat model that asks the provider."""
    return ChatOpenAI(model="gpt-4.1-mini", base_url=provider.openai_url, api_key="demo", **more)


async def _abatch(program: Any) -> None:
    await program.abatch([ASKED])


RUNS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda program: program.invoke(ASKED),
    "streamed": lambda program: list(program.stream(ASKED, stream_mode="messages", subgraphs=True)),
    "async": lambda program: asyncio.run(program.ainvoke(ASKED)),
    "async streamed": lambda program: asyncio.run(
        read(program.astream(ASKED, stream_mode=["messages", "updates"], subgraphs=True))
    ),
    "async batch": lambda program: asyncio.run(_abatch(program)),
}


@pytest.mark.parametrize("run", RUNS)
def test_the_program_has_its_tree_and_pays_once_for_each_request(
    program: Any, provider: DemoProvider, telemetry: Telemetry, run: str
) -> None:
    RUNS[run](program)
    assert tree(telemetry.spans) == TREE
    assert len(provider.requests) == 3
    assert_billed_once(telemetry, provider)


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_a_handler_that_is_passed_records_as_much_as_the_hook_and_nothing_twice_beside_it(
    provider: DemoProvider, run: str, hooked: bool
) -> None:
    libraries = ["openai", "langchain"] if hooked else ["openai"]
    with instrumented(libraries=libraries) as telemetry, nothing_left(telemetry):
        program = graph(provider.openai_url).with_config(callbacks=[genledger.langchain_handler()])
        telemetry.clear()
        provider.requests.clear()
        RUNS[run](program)
        assert tree(telemetry.spans) == TREE
        assert_billed_once(telemetry, provider)


def test_without_its_library_nothing_is_recorded_of_a_run(provider: DemoProvider) -> None:
    with record():
        pass
    with instrumented(libraries=["openai"]) as telemetry:
        chat(provider).invoke(QUESTION)
        RunnableLambda(lambda x: x).invoke(1)
        assert tree(telemetry.spans) == "chat gpt-4.1-mini\n"


def test_a_sequence_that_starts_all_roots_first_keeps_each_call_below_its_own(
    provider: DemoProvider, telemetry: Telemetry
) -> None:
    chain = (ChatPromptTemplate.from_template("{x}") | chat(provider)).with_config(run_name="draft")
    chain.batch([{"x": str(number)} for number in range(3)])
    asyncio.run(chain.abatch([{"x": str(number)} for number in range(3)]))
    calls = [span for span in telemetry.spans if span.name.startswith("chat")]
    roots = {span.context.span_id for span in telemetry.spans if span.parent is None and span.context}
    assert len(calls) == len(roots) == traces(telemetry.spans) == 6
    assert {span.parent.span_id for span in calls if span.parent} == roots


def test_several_prompts_of_one_request_are_paid_for_once_each(provider: DemoProvider, telemetry: Telemetry) -> None:
    prompts = [[HumanMessage("a")], [HumanMessage("b")]]
    chat(provider).generate(prompts)
    asyncio.run(chat(provider).agenerate(prompts))
    assert tree(telemetry.spans) == "chat gpt-4.1-mini\n" * 4
    assert_billed_once(telemetry, provider)


def test_the_body_of_a_loop_over_a_models_stream_is_not_inside_the_models_run(
    provider: DemoProvider, telemetry: Telemetry
) -> None:
    def node(_: Any) -> None:
        for _chunk in chat(provider).stream(QUESTION):
            pass
        chat(provider).invoke(QUESTION)

    for _ in chat(provider).stream(QUESTION):
        break
    RunnableLambda(node).invoke(1)
    assert tree(telemetry.spans) == (
        "chat gpt-4.1-mini\ninvoke_workflow node\n  chat gpt-4.1-mini\n  chat gpt-4.1-mini\n"
    )


def test_an_answer_of_langchains_cache_costs_nothing(provider: DemoProvider, telemetry: Telemetry) -> None:
    model = chat(provider, cache=InMemoryCache())
    for _ in range(3):
        model.invoke(QUESTION)
    assert len(provider.requests) == 1
    assert_billed_once(telemetry, provider)


class Notes(BaseRetriever):
    """A retriever that asks a model, and another retriever, before it answers."""

    model: Any
    inner: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
        if self.inner is not None:
            self.inner.invoke(query, {"callbacks": run_manager.get_child()})
        self.model.root_client.embeddings.create(model="text-embedding-3-small", input=query)
        (RunnableLambda(lambda x: x) | self.model).invoke(query, {"callbacks": run_manager.get_child()})
        return []


RETRIEVALS = """\
invoke_workflow find
  retrieval outer
    retrieval inner
      embeddings text-embedding-3-small
      chat gpt-4.1-mini
    embeddings text-embedding-3-small
    chat gpt-4.1-mini
  chat gpt-4.1-mini
"""


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_a_retriever_calls_is_inside_its_retrieval(
    provider: DemoProvider, telemetry: Telemetry, asynchronous: bool
) -> None:
    model = chat(provider)
    inner = Notes(model=model).with_config(run_name="inner")
    notes = Notes(model=model, inner=inner).with_config(run_name="outer")

    def find(query: str) -> None:
        notes.invoke(query)
        model.invoke(query)

    async def afind(query: str) -> None:
        await notes.ainvoke(query)
        await model.ainvoke(query)

    runnable = RunnableLambda(find, afind).with_config(run_name="find")
    if asynchronous:
        asyncio.run(runnable.ainvoke(QUESTION))
    else:
        runnable.invoke(QUESTION)
    assert tree(telemetry.spans) == RETRIEVALS


def add(before: list[str], after: list[str]) -> list[str]:
    """Merge what parallel nodes write."""
    return before + after


class State(TypedDict):
    """The state of the graphs."""

    said: Annotated[list[str], add]


def fanned_out(provider: DemoProvider, *, interrupted: bool = False) -> Any:
    """A graph of three parallel nodes, and one after them that may wait for a person."""

    def node(name: str) -> Any:
        def ask(state: State) -> State:
            weather.invoke({"city": name})
            return {"said": [str(chat(provider).invoke(name).content)]}

        async def ask_async(state: State) -> State:
            await weather.ainvoke({"city": name})
            return {"said": [str((await chat(provider).ainvoke(name)).content)]}

        return RunnableLambda(ask, ask_async)

    def review(state: State) -> State:
        return {"said": [str(interrupt("good?")) if interrupted else "good"]}

    made = StateGraph(State)
    for name in ("a", "b", "c"):
        made.add_node(name, node(name))
        made.add_edge(START, name)
    made.add_node("review", review)
    made.add_edge(["a", "b", "c"], "review")
    made.add_edge("review", END)
    return made.compile(checkpointer=InMemorySaver())


THREAD = {"configurable": {"thread_id": "t-1"}}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_parallel_nodes_keep_their_calls_apart_and_a_person_may_interrupt(
    provider: DemoProvider, telemetry: Telemetry, asynchronous: bool
) -> None:
    made = fanned_out(provider, interrupted=True)

    def run(given: Any) -> Any:
        return asyncio.run(made.ainvoke(given, THREAD)) if asynchronous else made.invoke(given, THREAD)

    run({"said": []})
    by_id = {span.context.span_id: span for span in telemetry.spans if span.context}
    parents = {name: by_id[span.parent.span_id].name for span in telemetry.spans if span.parent for name in [span.name]}
    calls = [span for span in telemetry.spans if span.name.startswith("chat")]
    assert sorted(by_id[span.parent.span_id].name for span in calls if span.parent) == ["a", "b", "c"]
    assert {parents[name] for name in ("a", "b", "c", "review")} == {"invoke_workflow LangGraph"}
    assert not [span.name for span in telemetry.spans if "error.type" in attributes_of(span)]
    telemetry.clear()
    run(Command(resume="yes"))
    assert tree(telemetry.spans) == "invoke_workflow LangGraph\n  review\n"
    assert attributes_of(telemetry.spans[-1])["gen_ai.conversation.id"] == "t-1"


def test_the_thread_and_user_of_a_run_attribute_its_calls_where_the_application_gave_none(
    provider: DemoProvider, telemetry: Telemetry
) -> None:
    made = fanned_out(provider)
    made.invoke({"said": []}, {**THREAD, "metadata": {"user_id": "ada"}})
    assert {(found["session.id"], found["user.id"]) for found in map(attributes_of, telemetry.spans)} == {
        ("t-1", "ada")
    }
    telemetry.clear()
    with genledger.attribution(session="s-1", user="bob"):
        made.invoke({"said": []}, {**THREAD, "metadata": {"user_id": "ada"}})
    assert {(found["session.id"], found["user.id"]) for found in map(attributes_of, telemetry.spans)} == {
        ("s-1", "bob")
    }


@pytest.mark.parametrize("name", ["clerk", None])
def test_an_agent_has_its_name_and_conversation(provider: DemoProvider, telemetry: Telemetry, name: str | None) -> None:
    agent = create_agent(chat(provider), [weather], name=name, checkpointer=InMemorySaver())
    agent.invoke(ASKED, THREAD)
    root = telemetry.spans[-1]
    assert root.name == f"invoke_agent {name or 'LangGraph'}"
    assert attributes_of(root)["gen_ai.agent.name"] == (name or "LangGraph")
    assert attributes_of(root)["gen_ai.conversation.id"] == "t-1"
    assert [span.name for span in telemetry.spans if span.parent is None] == [root.name]
    call = telemetry.attributes_of("execute_tool weather")
    assert call["gen_ai.tool.call.id"]


def test_an_agent_that_is_another_agents_tool_is_inside_the_tool(provider: DemoProvider, telemetry: Telemetry) -> None:
    inner = create_agent(chat(provider), [], name="expert")

    @tool
    def consult(city: str) -> str:
        """Ask the expert about a city."""
        return str(inner.invoke({"messages": [("user", city)]})["messages"][-1].content)

    create_agent(chat(provider), [consult], name="clerk").invoke(ASKED)
    assert tree(telemetry.spans) == (
        "invoke_agent clerk\n  model\n    chat gpt-4.1-mini\n  tools\n    execute_tool consult\n"
        "      invoke_agent expert\n        model\n          chat gpt-4.1-mini\n  model\n    chat gpt-4.1-mini\n"
    )


def test_a_node_that_does_more_than_run_the_agent_of_its_name_is_shown(
    provider: DemoProvider, telemetry: Telemetry
) -> None:
    agent = create_agent(chat(provider), [], name="clerk")

    def clerk(state: State) -> State:
        weather.invoke({"city": "Paris"})
        agent.invoke(ASKED)
        return {"said": []}

    made = StateGraph(State)
    made.add_node("clerk", clerk)
    made.add_edge(START, "clerk")
    made.compile().invoke({"said": []})
    assert tree(telemetry.spans) == (
        "invoke_workflow LangGraph\n  clerk\n    execute_tool weather\n    invoke_agent clerk\n      model\n"
        "        chat gpt-4.1-mini\n"
    )


def test_a_run_that_is_cancelled_midway_ends_with_it(provider: DemoProvider, telemetry: Telemetry) -> None:
    async def wait(state: State) -> State:
        await chat(provider).ainvoke(QUESTION)
        await slow("Paris")
        return {"said": []}

    made = StateGraph(State)
    made.add_node("waiting", wait)
    made.add_edge(START, "waiting")
    asyncio.run(cancelled(made.compile().ainvoke({"said": []}), lambda: outcomes(telemetry)))
    assert tree(telemetry.spans) == "invoke_workflow LangGraph\n  waiting\n    chat gpt-4.1-mini\n"
    assert not telemetry.open.spans


def test_a_stream_that_is_closed_midway_ends_its_run(provider: DemoProvider, telemetry: Telemetry) -> None:
    stream = fanned_out(provider).stream({"said": []}, THREAD)
    next(stream)
    stream.close()
    assert not telemetry.open.spans
    assert "invoke_workflow LangGraph" in [span.name for span in telemetry.spans]


def test_what_runs_say_is_recorded_where_content_is_and_nowhere_else(provider: DemoProvider) -> None:
    for captured in (True, False):
        with record(capture_content=captured) as telemetry:
            graph(provider.openai_url).invoke(ASKED)
            said = json.dumps([attributes_of(span) for span in telemetry.spans], default=str)
            found = {span.name: attributes_of(span) for span in telemetry.spans}
        assert ("Paris-75" in said) == captured
        if captured:
            assert "sunny in" in found["execute_tool weather"]["gen_ai.tool.call.result"]
            assert "capital of France" in found["retrieval VectorStoreRetriever"]["gen_ai.retrieval.documents"]


@pytest.fixture
def refused(refused: Telemetry, provider: DemoProvider) -> Telemetry:
    """The one request is made."""
    chat(provider).invoke(QUESTION)
    refused.clear()
    return refused


def retried_graph(provider: DemoProvider) -> Any:
    """A graph whose one node is tried again whatever fails."""
    made = StateGraph(State)
    made.add_node("ask", lambda state: {"said": [str(chat(provider).invoke(QUESTION).content)]}, retry_policy=AGAIN)
    made.add_edge(START, "ask")
    return RunnableLambda(lambda _: {"said": []}) | made.compile()


AGAIN = RetryPolicy(max_attempts=3, initial_interval=0.01, retry_on=Exception)


def agent(provider: DemoProvider, *middleware: Any) -> Any:
    """An agent with middleware."""
    return RunnableLambda(lambda _: ASKED) | create_agent(chat(provider), [weather], middleware=middleware)


INSISTING: dict[str, Callable[[DemoProvider], Any]] = {
    "a model": chat,
    "the client's retries": lambda provider: chat(provider, max_retries=5),
    "with_retry": lambda provider: chat(provider).with_retry(wait_exponential_jitter=False),
    "with_fallbacks": lambda provider: chat(provider).with_fallbacks([chat(provider)]),
    "RetryPolicy": retried_graph,
    "an agent": agent,
    "ModelRetryMiddleware": lambda provider: agent(provider, ModelRetryMiddleware(initial_delay=0.01)),
    "ModelFallbackMiddleware": lambda provider: agent(provider, ModelFallbackMiddleware(chat(provider))),
}


WAYS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda runnable: runnable.invoke(QUESTION),
    "ainvoke": lambda runnable: asyncio.run(runnable.ainvoke(QUESTION)),
    "stream": lambda runnable: list(runnable.stream(QUESTION)),
    "batch": lambda runnable: runnable.batch([QUESTION]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("insisting", INSISTING)
def test_a_refusal_ends_the_run_at_once_with_its_name(
    provider: DemoProvider, refused: Telemetry, insisting: str, way: str
) -> None:
    runnable = INSISTING[insisting](provider)
    with pytest.raises(genledger.BudgetExceeded):
        WAYS[way](runnable)
    assert len(provider.requests) == 1, "the one that the budget admitted"
    calls = [span for span in refused.spans if span.name.startswith("chat")]
    assert len(calls) == (2 if (insisting, way) == ("with_fallbacks", "batch") else 1)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("middleware", [(), (ToolRetryMiddleware(initial_delay=0.01, on_failure="continue"),)])
def test_a_refusal_in_a_tool_is_no_answer_of_the_tool(
    provider: DemoProvider, middleware: tuple[Any, ...], asynchronous: bool
) -> None:
    @tool
    def consult(city: str) -> str:
        """Ask another model about a city."""
        return str(chat(provider).invoke(city).content)

    made = create_agent(chat(provider), [consult], middleware=middleware)
    with refusing(record, requests=1, per="day"), pytest.raises(genledger.BudgetExceeded):
        asyncio.run(made.ainvoke(ASKED)) if asynchronous else made.invoke(ASKED)
    assert len(provider.requests) == 1


def test_a_tool_node_that_answers_with_errors_does_not_with_a_refusal(
    provider: DemoProvider, refused: Telemetry
) -> None:
    @tool
    def consult(city: str) -> str:
        """Ask another model about a city."""
        return str(chat(provider).invoke(city).content)

    class Messages(TypedDict):
        messages: list[Any]

    made = StateGraph(Messages)
    made.add_node("tools", ToolNode([consult], handle_tool_errors=True))
    made.add_edge(START, "tools")
    called = {"name": "consult", "args": {"city": "Paris"}, "id": "c-1", "type": "tool_call"}
    with pytest.raises(genledger.BudgetExceeded):
        made.compile().invoke({"messages": [AIMessage("", tool_calls=[called])]})


def looping(provider: DemoProvider, city: Callable[[int], str]) -> Any:
    """A graph that runs a tool and asks a model, over and over, for the cities."""

    def ask(state: State) -> State:
        weather.invoke({"city": city(len(state["said"]))})
        return {"said": [str(chat(provider).invoke(QUESTION).content)]}

    made = StateGraph(State)
    made.add_node("ask", ask)
    made.add_edge(START, "ask")
    made.add_edge("ask", "ask")
    return made.compile()


@pytest.mark.parametrize(
    ("limit", "city", "requests"),
    [
        pytest.param({"steps": 2, "per": "run"}, str, 2, id="steps"),
        pytest.param({"repeats": 2}, lambda number: "Paris", 2, id="repeats"),
        pytest.param({"repeats": 2}, str, 5, id="no repeats"),
    ],
)
def test_budgets_of_a_run_hold_in_a_graph(
    provider: DemoProvider, limit: dict[str, Any], city: Callable[[int], str], requests: int
) -> None:
    error: Any = genledger.BudgetExceeded if requests == 2 else RecursionError
    with refusing(record, **limit), pytest.raises(error):
        looping(provider, city).invoke({"said": []}, {"recursion_limit": 5})
    assert len(provider.requests) == requests


def test_a_budget_of_depth_holds_among_agents(provider: DemoProvider) -> None:
    inner = create_agent(chat(provider), [], name="expert")

    @tool
    def consult(city: str) -> str:
        """Ask the expert about a city."""
        return str(inner.invoke({"messages": [("user", city)]})["messages"][-1].content)

    outer = create_agent(chat(provider), [consult], name="clerk")
    around = RunnableLambda(lambda given: outer.invoke(given))
    with refusing(record, depth=1), pytest.raises(genledger.BudgetExceeded, match=RULE):
        around.invoke(ASKED)
    assert len(provider.requests) == 1


def test_callbacks_out_of_order_never_reach_the_application(telemetry: Telemetry) -> None:
    handler: Any = genledger.langchain_handler()
    handler.on_chain_end({}, run_id="unknown")
    handler.on_llm_end(None, run_id="unknown")
    handler.on_chain_error(ValueError(), run_id="unknown")
    handler.on_tool_start({"name": "lookup"}, "{}", run_id="tool", parent_run_id="unknown")
    handler.on_tool_end("found", run_id="tool")
    handler.on_tool_end("found", run_id="tool")
    assert tree(telemetry.spans) == "execute_tool lookup\n"


def test_other_handlers_are_left_alone(provider: DemoProvider, telemetry: Telemetry) -> None:
    heard: list[str] = []

    class Mine(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            heard.append("start")

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            heard.append("end")

    asyncio.run(chat(provider).ainvoke(QUESTION, {"callbacks": [Mine(), genledger.langchain_handler()]}))
    assert heard == ["start", "end"]
    assert tree(telemetry.spans) == "chat gpt-4.1-mini\n"
