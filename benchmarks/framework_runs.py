"""Runs of agent frameworks to measure, and the process that they are measured in.

`python -m benchmarks.framework_runs CONTENDER SETTING`, in an environment that has the framework. A framework is one
`FrameworkCase`, and its environments in `benchmarks.environments`: `NAME`, `NAME-genledger`, `NAME-openinference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import langgraph_run, openai_agents_run
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
        by_hand: Makes the same run with Genledger's spans and the points of its histograms, written by hand.
        openinference: Instruments the framework with OpenInference.
    """

    key: str
    title: str
    run: Callable[[], Run]
    by_hand: Callable[[], Run]
    openinference: Callable[[], object]


FRAMEWORKS: dict[str, FrameworkCase] = {
    case.key: case
    for case in (
        FrameworkCase(
            "langgraph",
            f"LangGraph run of {langgraph_run.NODES} nodes",
            langgraph_run.bare,
            langgraph_run.by_hand,
            langgraph_run.openinference,
        ),
        FrameworkCase(
            "openai-agents",
            "OpenAI Agents SDK run of two model calls and a tool call",
            openai_agents_run.bare,
            openai_agents_run.by_hand,
            openai_agents_run.openinference,
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
        run = framework.by_hand() if self.contender == "hand-written" else framework.run()
        if self.contender == "openinference":
            framework.openinference()
        return run


CONTENDERS_OF_FRAMEWORKS = tuple(CONTENDERS[key] for key in ("nothing", "hand-written", "genledger", "openinference"))
"""Who is measured: nobody, the spans written by hand, ours, and OpenInference."""


if __name__ == "__main__":
    serve(FrameworkWorker)
