"""LlamaIndex's open spans, and what is going on in the workflows that run."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

from genledger.engine.steps import Kind
from genledger.instrumentation.adapters.callbacks import Runs

from ..formats.llamaindex_spans import is_streamed_chat, read_agent, read_error, read_result, stream_in


class WorkflowRun:
    """A workflow that runs: its open steps and, if it is one of many agents, whose turn it is."""

    def __init__(self, run: str, workflow: Any) -> None:
        self.inside = run
        self._run = run
        self._workflow = workflow
        self._turns = 0
        self._agent: str | None = None
        self.steps: set[str] = set()

    def take_turn(self, agent: str | None) -> None:
        """Begin the turn of an agent, and end that of the one before."""
        if agent is None or agent == self._agent or not hasattr(self._workflow, "agents"):
            return
        self._end_turn()
        self._agent = agent
        self._turns += 1
        self.inside = f"{self._run}/{self._turns}"
        RUNS.start(self.inside, self._run, *read_agent(self._workflow, agent)[:3])

    def end(self, error: BaseException | None) -> None:
        """End what is still open: a run that fails gives up its steps without a word."""
        for step in tuple(self.steps):
            RUNS.end(step)
        self._end_turn(error)

    def _end_turn(self, error: BaseException | None = None) -> None:
        if self.inside != self._run:
            RUNS.end(self.inside, error)


class OpenSpan:
    """An open span of LlamaIndex's.

    Attributes:
        run: The step that it is or, as plumbing, is in.
        kind: What that step does; `None` for plumbing.
        flow: The workflow that it is the run of.
        around: The workflow that it is a step of.
        models: Whether it is within a model's call.
        answer: What a chat has returned that is still read.
        read: Whether that has been read.
    """

    __slots__ = ("answer", "around", "flow", "kind", "models", "read", "run")

    def __init__(self, run: str | None, kind: Kind | None = None, around: WorkflowRun | None = None) -> None:
        self.run = run
        self.kind = kind
        self.flow: WorkflowRun | None = None
        self.around = around
        self.answer: Any = None
        self.models = self.read = False


SPANS: OrderedDict[str, OpenSpan] = OrderedDict()
"""The open spans by their ids."""


def current_run() -> str | None:
    """Return the id of the step that is current here, from LlamaIndex's own context variable."""
    module = sys.modules.get("llama_index_instrumentation.span")
    return run_of(module.active_span_id.get()) if module is not None else None


def run_of(span: str | None) -> str | None:
    """Return the step that a span is, or is in."""
    found = SPANS.get(span) if span is not None else None
    return found.run if found is not None else None


RUNS = Runs(current_run)


def end(id_: str, result: Any, error: BaseException | None = None) -> None:
    """End the step that a span is."""
    span = SPANS.pop(id_, None)
    if span is None or span.kind is None:
        return
    if span.around is not None:
        span.around.steps.discard(id_)
    if span.flow is not None:
        span.flow.end(error)
    kind = span.kind
    streamed = stream_in(result)
    if streamed is not None:
        setattr(result, streamed, RUNS.until_read(id_, getattr(result, streamed)))
    elif is_streamed_chat(result):
        SPANS[id_] = span
        span.answer = result
        if span.read:
            end_chat(id_)
    else:
        RUNS.end(id_, error or read_error(result), lambda: read_result(kind, result))


def end_chat(run: str | None, error: BaseException | None = None) -> None:
    """End a chat when it has returned and its answer has been read, in whichever order that happens."""
    chat = SPANS.get(run) if run is not None else None
    if run is not None and chat is not None:
        chat.read = True
        if chat.answer is not None:
            SPANS.pop(run, None)
            answer = chat.answer
            RUNS.end(run, error, lambda: read_result("workflow", answer))
