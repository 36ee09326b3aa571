"""What a framework should not tell of its runs: parents that nobody knows, ends without a start, and no ends."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol
from weakref import WeakValueDictionary

import pytest
from tests.instrumentors.frameworks.runs import traces, tree
from tests.instrumentors.telemetry import Telemetry, instrumented

import genledger
from genledger.engine.operation import Endpoint, Operation
from genledger.engine.recorder import Recorder
from genledger.instrumentation.adapters.agent_processes import MAX_UNANSWERED, AgentConnection, ProcessRun
from genledger.instrumentation.adapters.callbacks import MAX_OPEN, Runs
from genledger.instrumentation.adapters.event_scopes import EventScopes, Stack
from genledger.instrumentation.adapters.stepped_functions import Described, stepping
from genledger.instrumentation.adapters.traced_blocks import TracedBlocks
from genledger.instrumentation.patching import wrapped_by
from genledger.shared import internal_errors

WORK = Described("tool", "work")


class Framework(Protocol):
    """A framework whose runs are tools of the name "work"."""

    def begin(self, run: str, parent: str | None = None) -> object:
        """Begin a run; return what an application holds of it."""

    def end(self, run: str) -> object:
        """End it, if it has begun."""


class CallingBack:
    """One that reports its runs in callbacks."""

    def __init__(self) -> None:
        self._runs = Runs(lambda: None)

    def begin(self, run: str, parent: str | None = None) -> object:
        self._runs.start(run, parent, "tool", "work")
        return None

    def end(self, run: str) -> object:
        self._runs.end(run)
        return None


class Emitting:
    """One that emits events."""

    def __init__(self) -> None:
        self._stack: ContextVar[Stack] = ContextVar("stack", default=())
        scopes = EventScopes(
            "emitting",
            stack=self._stack.get,
            begins={"ended": "started"}.get,
            describe=lambda source, event, around: WORK if event.type == "started" else None,
            error=lambda event: None,
            content=lambda event: {},
            stops=lambda event, error: None,
        )
        self._emit = wrapped_by(scopes.emits("module", "emit").wrapper)(self._take)
        self.hook = scopes.hook("module")

    def begin(self, run: str, parent: str | None = None) -> object:
        self._stack.set(() if parent is None else ((parent, "started"),))
        self._emit(run, SimpleNamespace(type="started", event_id=run))
        self._stack.set(())
        return None

    def end(self, run: str) -> object:
        self._stack.set(((run, "started"),))
        self._emit(run, SimpleNamespace(type="ended", event_id=f"{run} ended"))
        self._stack.set(())
        return None

    @staticmethod
    def _take(source: Any, event: Any) -> None:
        """Tell nobody."""


class Connected:
    """An agent in a process of its own, whose messages tell of the calls of tools, their results, and its answers."""

    def __init__(self) -> None:
        self._connection = AgentConnection(self._start, self._read, self._end)

    def begin(self, run: str, parent: str | None = None) -> object:
        self._connection.begin()
        return None

    def end(self, run: str) -> object:
        self._connection.take(("answer", None, None))
        return None

    @staticmethod
    def _start(connection: AgentConnection, recorder: Recorder, prompt: Any) -> ProcessRun:
        return ProcessRun(recorder, Operation("chat", "none"), "process", Endpoint("anthropic"), {}, None)

    @staticmethod
    def _read(connection: AgentConnection, message: Any) -> None:
        kind, call, inside = message
        if kind == "answer" and connection.runs:
            connection.runs.popleft().end(None, None, None, False, {})
        elif kind == "call":
            connection.runs[0].begin_tool(call, "work", {}, inside, None)
        elif kind == "result":
            connection.runs[0].end_tool(call, None)

    @staticmethod
    def _end(run: ProcessRun, error: BaseException | None, answered: bool) -> None:
        run.end(None, error, error, True, {})


class CallingTools(Connected):
    """The tools of one run of such an agent."""

    def __init__(self) -> None:
        super().__init__()
        self._connection.begin()

    def begin(self, run: str, parent: str | None = None) -> object:
        self._connection.take(("call", run, parent))
        return None

    def end(self, run: str) -> object:
        self._connection.take(("result", run, None))
        return None


class Tracing:
    """One that traces what it does in blocks."""

    def __init__(self) -> None:
        blocks = TracedBlocks(
            "tracing",
            read=lambda operation, tags, naming, noted: WORK,
            naming=lambda operation, tags: None,
            content=lambda kind, tag, value: {},
            failing="failed",
            cause=lambda error: error,
            unattached=("work",),
        )
        self._trace = wrapped_by(blocks.trace)(self._span)
        self._open: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def begin(self, run: str, parent: str | None = None) -> object:
        block = self._open[run] = self._trace("work", {}, parent)
        block.__enter__()
        return block

    def end(self, run: str) -> object:
        block = self._open.get(run) or self._trace("work", {}, None)
        block.__exit__(None, None, None)
        return None

    @staticmethod
    def _span(operation_name: str, tags: Mapping[str, Any], parent_span: Any) -> AbstractContextManager[Any]:
        return nullcontext(parent_span)


class Stepping:
    """One whose functions are steps, and give generators."""

    def __init__(self) -> None:
        self._function = wrapped_by(stepping(lambda instance, given: WORK))(self._run)
        self._open: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def begin(self, run: str, parent: str | None = None) -> object:
        items = self._open[run] = self._function()
        next(items)
        return items

    def end(self, run: str) -> object:
        return list(self._open.get(run, ()))

    @staticmethod
    def _run() -> Iterator[int]:
        yield 1


KNOWING = {CallingBack: MAX_OPEN, Emitting: MAX_OPEN, Connected: MAX_UNANSWERED, CallingTools: MAX_UNANSWERED}
"""Frameworks whose runs are known by ids, or in their order, until they end; and how many are kept."""

HOLDING = (Tracing, Stepping)
"""Frameworks whose runs are objects, which the application holds until they end."""


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with instrumented(libraries=[]) as telemetry:
        yield telemetry


@pytest.mark.parametrize("framework", [*KNOWING, *HOLDING])
def test_an_end_without_a_start_changes_nothing(telemetry: Telemetry, framework: type[Framework]) -> None:
    made = framework()
    made.end("never begun")
    assert not telemetry.spans
    held = made.begin("run")
    made.end("run")
    ended = len(telemetry.spans)
    made.end("run")
    del held
    assert len(telemetry.spans) == ended > 0
    assert not telemetry.complaints.other


@pytest.mark.parametrize("framework", [*KNOWING, *HOLDING])
def test_a_run_in_one_that_nobody_knows_is_in_what_is_current(telemetry: Telemetry, framework: type[Framework]) -> None:
    with genledger.observe("mine"):
        made = framework()
        held = made.begin("run", "unknown")
        made.end("run")
        del held
    assert len(telemetry.spans) > 1
    assert traces(telemetry.spans) == 1
    assert not telemetry.complaints.other


@pytest.mark.parametrize("framework", KNOWING)
def test_of_runs_that_never_end_the_oldest_are_ended_and_counted(
    telemetry: Telemetry, framework: type[Framework]
) -> None:
    def counted() -> int:
        return sum(times for stage, times in internal_errors.counts().items() if stage.startswith("keeping the runs"))

    made, before, most = framework(), counted(), KNOWING[framework]
    around = set(telemetry.open.spans)
    for number in range(most + 3):
        if number == 3:
            oldest = set(telemetry.open.spans) - around
        made.begin(f"run {number}")
    assert oldest.isdisjoint(telemetry.open.spans)
    assert len(telemetry.open.spans) == len(around) + most * len(oldest) // 3
    assert counted() - before == 3


@pytest.mark.parametrize("framework", HOLDING)
def test_a_run_that_is_dropped_ends(telemetry: Telemetry, framework: type[Framework]) -> None:
    made = framework()
    made.begin("run")
    gc.collect()
    assert [span.name for span in telemetry.spans] == ["execute_tool work"]


def test_events_that_would_end_runs_are_heard_no_more_after_the_hook_is_removed(telemetry: Telemetry) -> None:
    made = Emitting()
    made.begin("outer")
    made.begin("inner", "outer")
    made.hook.remove(ModuleType("module"))
    assert tree(telemetry.spans) == "execute_tool work\n  execute_tool work\n"
    assert not telemetry.open.spans
