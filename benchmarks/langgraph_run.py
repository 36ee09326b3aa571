"""A LangGraph run, whose nodes do next to nothing: what is measured is what recording its structure adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypedDict

Run = Callable[[], object]

NODES = 10
"""Nodes of the graph, each after the one before."""


class GraphState(TypedDict):
    """State of the graph: how many nodes have run."""

    done: int


def _node(state: GraphState) -> GraphState:
    return {"done": state["done"] + 1}


def _graph(traced: Callable[[str], Callable[[GraphState], GraphState]]) -> Any:
    from langgraph.graph import END, START, StateGraph  # type: ignore[import-not-found,unused-ignore]

    made = StateGraph(GraphState)
    names = [f"node_{number}" for number in range(NODES)]
    for name in names:
        made.add_node(name, traced(name))
    for before, after in zip([START, *names], [*names, END], strict=True):
        made.add_edge(before, after)
    return made.compile()


def bare() -> Run:
    """Return the run."""
    graph = _graph(lambda name: _node)
    return lambda: graph.invoke({"done": 0})


def by_hand() -> Run:
    """Return the run, with Genledger's spans and metric points written by hand."""
    from opentelemetry import metrics, trace

    start = trace.get_tracer("benchmarks.langgraph_run").start_as_current_span
    meter = metrics.get_meter("benchmarks.langgraph_run")
    duration = meter.create_histogram("gen_ai.invoke_workflow.duration", "s")

    def traced(name: str) -> Callable[[GraphState], GraphState]:
        def node(state: GraphState) -> GraphState:
            with start(name, attributes={"genledger.operation.kind": "task"}):
                return _node(state)

        return node

    graph = _graph(traced)
    labels = {"gen_ai.workflow.name": "LangGraph"}

    def run() -> object:
        began = time.perf_counter()
        with start("invoke_workflow LangGraph", attributes={"gen_ai.operation.name": "invoke_workflow", **labels}):
            done = graph.invoke({"done": 0})
            duration.record(time.perf_counter() - began, labels)
        return done

    return run


def openinference() -> None:
    """Instrument it with OpenInference."""
    from openinference.instrumentation.langchain import (  # type: ignore[import-not-found,unused-ignore]
        LangChainInstrumentor,
    )

    LangChainInstrumentor().instrument()
