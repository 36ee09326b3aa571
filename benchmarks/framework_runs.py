"""Runs of agent frameworks to measure, and the process that they are measured in.

`python -m benchmarks.framework_runs CONTENDER SETTING`, in an environment that has the framework. A framework is one
`FrameworkCase`, and its environments in `benchmarks.environments`: `NAME`, `NAME-genledger`, `NAME-openinference`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from benchmarks.contenders import CONTENDERS
from benchmarks.worker import Worker, serve

Run = Callable[[], object]


@dataclass(frozen=True)
class FrameworkCase:
    """One run of a framework.

    Attributes:
        key: The framework, as environments are named for it.
        title: What tables call it.
        run: Makes the run.
        by_hand: Makes the same run with Genledger's spans and metric points, written by hand.
        openinference: Instruments the framework with OpenInference.
    """

    key: str
    title: str
    run: Callable[[], Run]
    by_hand: Callable[[], Run]
    openinference: Callable[[], object]


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


def _langgraph() -> Run:
    graph = _graph(lambda name: _node)
    return lambda: graph.invoke({"done": 0})


def _langgraph_by_hand() -> Run:
    from opentelemetry import metrics, trace

    start = trace.get_tracer("benchmarks.framework_runs").start_as_current_span
    meter = metrics.get_meter("benchmarks.framework_runs")
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


def _langgraph_openinference() -> None:
    from openinference.instrumentation.langchain import (  # type: ignore[import-not-found,unused-ignore]
        LangChainInstrumentor,
    )

    LangChainInstrumentor().instrument()


FRAMEWORKS: dict[str, FrameworkCase] = {
    case.key: case
    for case in (
        FrameworkCase(
            "langgraph",
            f"LangGraph run of {NODES} nodes",
            _langgraph,
            _langgraph_by_hand,
            _langgraph_openinference,
        ),
    )
}


class FrameworkWorker(Worker):
    """Measures runs of frameworks."""

    def start(self, contender: str) -> None:
        """Install the SDK, or Genledger; who else is measured instruments a framework once it is known which."""
        self.contender = contender
        if contender in ("nothing", "genledger"):
            super().start(contender)
        else:
            self.telemetry.install()

    def prepare(self, case: str) -> Run:
        """Return the run, instrumented."""
        framework = FRAMEWORKS[case]
        if self.contender == "openinference":
            framework.openinference()
        return framework.by_hand() if self.contender == "hand-written" else framework.run()


CONTENDERS_OF_FRAMEWORKS = tuple(CONTENDERS[key] for key in ("nothing", "hand-written", "genledger", "openinference"))
"""Who is measured: nobody, the spans written by hand, ours, and OpenInference."""


if __name__ == "__main__":
    serve(FrameworkWorker)
