"""LangChain and LangGraph: the tree of a run in every way of calling, and every call priced once."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import openai
import pytest
from opentelemetry.context import get_current
from tests.genledger.applications import rows
from tests.instrumentors import openai_format as wire
from tests.instrumentors.frameworks.runs import calls, errors, in_thread, read, tenants, tree
from tests.instrumentors.telemetry import Telemetry, attributes_of, instrumented

import genledger
from genledger_semconv.checker import assert_clean

pytest.importorskip("langchain_core", reason="langchain-core has an environment of its own: make test-contract")
pytest.importorskip("langgraph", reason="langgraph has an environment of its own: make test-contract")

from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

record = partial(instrumented, libraries=["openai", "langchain"])

PRICE = 176 * 2.5e-6 + 1024 * 1.25e-6 + 300 * 10e-6
"""USD of `wire.chat()`, 1,024 of whose input tokens were cached: gpt-4o has 2.50, 1.25 and 10.00 USD per million."""

http: Any = importlib.import_module("httpx2" if openai.__version__ >= "3" else "httpx")

CLIENT = openai.OpenAI(
    api_key="k",
    http_client=http.Client(transport=http.MockTransport(lambda _: http.Response(200, json=wire.chat()))),
)


def ask() -> str:
    """One call of a provider."""
    return str(CLIENT.chat.completions.create(model="gpt-4o", messages=wire.USER).model)


@tool
def weather(city: str) -> str:
    """Say what the weather is like."""
    return ask()


class State(TypedDict):
    """The state of the graph."""

    x: str


def graph() -> Any:
    """A graph of two nodes after each other: one runs a tool, one asks a provider."""
    made = StateGraph(State)
    made.add_node("first", lambda state: {"x": weather.invoke({"city": "Paris"})})
    made.add_node("second", lambda state: {"x": ask()})
    made.add_edge(START, "first")
    made.add_edge("first", "second")
    made.add_edge("second", END)
    return made.compile()


GRAPH = """\
invoke_workflow LangGraph
  first
    execute_tool weather
      chat gpt-4o
  second
    chat gpt-4o
"""


async def _astream(runnable: Any, given: Any) -> None:
    await read(runnable.astream(given))


async def _astream_events(runnable: Any, given: Any) -> None:
    await read(runnable.astream_events(given, version="v2"))


async def _abatch_as_completed(runnable: Any, given: Any) -> None:
    await read(runnable.abatch_as_completed([given]))


def _stream(runnable: Any, given: Any) -> None:
    for _ in runnable.stream(given):
        assert get_current() == {}


def _batch_as_completed(runnable: Any, given: Any) -> None:
    for _ in runnable.batch_as_completed([given]):
        assert get_current() == {}


def asynchronously(act: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine, and see that it leaves no context behind in its task."""

    async def run() -> Any:
        try:
            return await act()
        finally:
            assert get_current() == {}

    return asyncio.run(run())


WAYS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda runnable, given: runnable.invoke(given),
    "stream": _stream,
    "batch": lambda runnable, given: runnable.batch([given]),
    "sequence.batch": lambda runnable, given: (runnable | RunnableLambda(lambda x: x)).batch([given]),
    "batch_as_completed": _batch_as_completed,
    "ainvoke": lambda runnable, given: asynchronously(lambda: runnable.ainvoke(given)),
    "astream": lambda runnable, given: asynchronously(lambda: _astream(runnable, given)),
    "abatch": lambda runnable, given: asynchronously(lambda: runnable.abatch([given])),
    "abatch_as_completed": lambda runnable, given: asynchronously(lambda: _abatch_as_completed(runnable, given)),
    "astream_events": lambda runnable, given: asynchronously(lambda: _astream_events(runnable, given)),
    "in a thread": lambda runnable, given: in_thread(lambda: runnable.invoke(given)),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_has_its_tree_however_it_is_called(telemetry: Telemetry, way: str) -> None:
    WAYS[way](graph(), {"x": "go"})
    name = "RunnableSequence" if way == "sequence.batch" else "LangGraph"
    assert tree(telemetry.spans) == GRAPH.replace("LangGraph", name)
    costs = [call["genledger.cost.amount"] for call in calls(telemetry)]
    assert costs == [pytest.approx(PRICE)] * 2


@pytest.mark.parametrize("way", WAYS)
def test_calls_in_parallel_branches_belong_to_their_own(telemetry: Telemetry, way: str) -> None:
    branches = {name: RunnableLambda(lambda _, name=name: weather.invoke({"city": name})) for name in ("a", "b", "c")}
    WAYS[way](RunnableLambda(lambda x: x) | branches, "go")
    chats = [span for span in telemetry.spans if span.name == "chat gpt-4o"]
    tools = {span.context.span_id for span in telemetry.spans if span.name == "execute_tool weather" and span.context}
    assert len(chats) == len(tools) == 3
    assert {span.parent.span_id for span in chats if span.parent is not None} == tools


def test_the_body_of_a_loop_over_a_stream_is_not_inside_the_run(telemetry: Telemetry) -> None:
    for _ in graph().stream({"x": "go"}):
        assert get_current() == {}
        ask()
    roots = [span.name for span in telemetry.spans if span.parent is None]
    assert sorted(roots) == ["chat gpt-4o", "chat gpt-4o", "invoke_workflow LangGraph"]


def test_an_error_ends_every_step_with_it(telemetry: Telemetry) -> None:
    def fail(state: State) -> State:
        raise ValueError("the node's own")

    made = StateGraph(State)
    made.add_node("failing", fail)
    made.add_edge(START, "failing")
    with pytest.raises(ValueError, match="the node's own"):
        made.compile().invoke({"x": "go"})
    assert errors(telemetry) == {
        "invoke_workflow LangGraph": "ValueError",
        "failing": "ValueError",
    }


def test_a_model_without_an_instrumented_client_is_priced_by_the_usage_of_its_message(telemetry: Telemetry) -> None:
    usage = {
        "input_tokens": 1000,
        "output_tokens": 500,
        "total_tokens": 1500,
        "input_token_details": {"cache_read": 400},
    }
    message = AIMessage("hello", usage_metadata=usage, response_metadata={"model_name": "gpt-4o"})
    (RunnableLambda(lambda x: x) | GenericFakeChatModel(messages=iter([message]))).invoke("hi")
    (call,) = calls(telemetry)
    assert call["gen_ai.usage.input_tokens"] == 1000
    assert call["gen_ai.usage.cache_read.input_tokens"] == 400
    assert call["gen_ai.usage.output_tokens"] == 500


def test_what_langchains_cache_answers_is_a_hit_and_no_call(tmp_path: Path) -> None:
    class Model(GenericFakeChatModel):
        def _get_ls_params(self, *stop: Any, **more: Any) -> Any:
            return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}

    usage = {"input_tokens": 1000, "output_tokens": 500, "total_tokens": 1500}
    message = AIMessage("hello", usage_metadata=usage, response_metadata={"model_name": "gpt-4o"})
    model, ledger = Model(messages=iter([message]), cache=InMemoryCache()), tmp_path / "ledger.db"
    with record(destinations=["ledger"], ledger=str(ledger)) as telemetry, genledger.attribution(tenant="acme"):
        for _ in range(3):
            assert (RunnableLambda(lambda x: x) | model).invoke("hi").content == "hello"
        assert_clean(telemetry.spans, telemetry.metrics, telemetry.logs)
    price = 1000 * 2.5e-6 + 500 * 10e-6
    assert [row["cost_usd"] for row in rows(ledger)] == [pytest.approx(price)]
    hits = rows(ledger, "SELECT * FROM cache_hits")
    assert [(row["cache"], row["tenant"], row["model"]) for row in hits] == [("langchain", "acme", "gpt-4o")] * 2
    assert [row["saved_usd"] for row in hits] == [pytest.approx(price)] * 2


def test_a_run_takes_the_attribution_around_it(telemetry: Telemetry) -> None:
    with genledger.attribution(tenant="acme"):
        graph().invoke({"x": "go"})
    assert tenants(telemetry.spans) == {"acme"}


def test_nothing_is_recorded_after_uninstrument() -> None:
    with record() as telemetry:
        graph().invoke({"x": "go"})
        count = len(telemetry.spans)
        genledger.uninstrument()
        graph().invoke({"x": "go"})
    assert len(telemetry.spans) == count == 6


def test_the_conversation_of_a_thread_is_on_the_workflow(telemetry: Telemetry) -> None:
    graph().invoke({"x": "go"}, {"metadata": {"thread_id": "t-1"}})
    (workflow,) = [span for span in telemetry.spans if span.name == "invoke_workflow LangGraph"]
    assert attributes_of(workflow)["gen_ai.conversation.id"] == "t-1"


def test_the_application_hears_of_the_same_events_as_without_genledger() -> None:
    """LangChain's asynchronous manager passes plain models' events over while any handler is inline."""

    async def heard() -> list[str]:
        model = FakeListLLM(responses=["Paris."])
        chain = PromptTemplate.from_template("What is the capital of {x}?") | model
        return [event["event"] async for event in chain.astream_events({"x": "France"}, version="v2")]

    before = asyncio.run(heard())
    assert {"on_llm_start", "on_llm_end"} <= set(before)
    with instrumented(libraries=["langchain"]):
        assert asyncio.run(heard()) == before


@pytest.mark.parametrize("first", ["langchain_core.callbacks.base", "langchain_core.runnables.retry"])
def test_everything_is_patched_whichever_module_the_application_imports_first(first: str) -> None:
    program = f"import genledger; genledger.instrument(destinations=[]); import {first}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
