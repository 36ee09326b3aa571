"""Spans for the application's own agents, tools, retrievals, workflows and tasks."""

from __future__ import annotations

import functools
import inspect
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast, overload

from opentelemetry import trace
from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context

from genledger_semconv import SCHEMA_URL
from genledger_semconv import attributes as A

from .attribution import SPEND_KEY, current, current_spend
from .calls import faults
from .calls.instrumentor import SCOPE
from .calls.operation import span_name
from .calls.outcome import error_type
from .calls.recorder import active
from .calls.redaction import stage
from .contexts import async_steps_in_context, enter, leave, steps_in_context, visits
from .runs import RUN_KEY, Run, run_in
from .spending import Spend, Spent
from .text import bounded

Kind = Literal["agent", "tool", "retrieval", "workflow", "task"]

_KINDS: dict[str, tuple[str, str]] = {
    "agent": ("invoke_agent", A.GEN_AI_AGENT_NAME),
    "tool": ("execute_tool", A.GEN_AI_TOOL_NAME),
    "retrieval": ("retrieval", A.GEN_AI_DATA_SOURCE_ID),
    "workflow": ("invoke_workflow", A.GEN_AI_WORKFLOW_NAME),
    "task": ("", ""),
}

F = TypeVar("F", bound=Callable[..., Any])


class Observation(AbstractContextManager["Observation"]):
    """One observed block. `spend()` says what the calls inside have cost so far."""

    __slots__ = ("_arguments", "_kind", "_name", "_run", "_spend", "_started", "span")

    def __init__(self, kind: Kind, name: str, arguments: object = None) -> None:
        self._kind = kind
        self._name = name
        self._arguments = arguments
        self._spend: Spend | None = None
        self._run: Run | None = None
        self._started = 0.0
        self.span: Span = trace.INVALID_SPAN

    def spend(self) -> Spent:
        """What the calls inside this block have cost so far."""
        return self._spend.read() if self._spend is not None else Spent(0.0, 0, 0, 0)

    def start(self, outer: Context) -> Context:
        """Start the span and give the context to run in: the same one, when a fault of ours is in the way."""
        try:
            return self._start(outer)
        except Exception as fault:
            faults.report("starting a step", fault)
            return outer

    def _start(self, outer: Context) -> Context:
        operation, naming = _KINDS[self._kind]
        attributes: dict[str, Any] = dict(current(outer).attributes)
        if operation:
            attributes[A.GEN_AI_OPERATION_NAME] = operation
            attributes[naming] = self._name
        else:
            attributes[A.GENLEDGER_OPERATION_KIND] = self._kind
        recorder = active()
        tracer = recorder.tracer if recorder is not None else trace.get_tracer(SCOPE, schema_url=SCHEMA_URL)
        self.span = tracer.start_span(
            span_name(operation, self._name),
            outer,
            SpanKind.CLIENT if self._kind == "retrieval" else SpanKind.INTERNAL,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        self._spend = Spend(current_spend(outer))
        inside = set_value(SPEND_KEY, self._spend, set_span_in_context(self.span, outer))
        run = run_in(outer)
        if self._kind in ("agent", "workflow"):
            span_id = f"{self.span.get_span_context().span_id:016x}"
            self._run = Run(span_id, 0 if run is None else run.depth + 1)
            inside = set_value(RUN_KEY, self._run, inside)
        elif self._kind == "tool" and run is not None:
            run.tool_calls.append(f"{bounded(self._name)}:{zlib.crc32(repr(self._arguments).encode()):08x}")
            run.tools += 1
        self._arguments = None  # a context that somebody keeps must not keep the application's values
        self._started = time.perf_counter()
        return inside

    def finish(self, error: BaseException | None = None) -> None:
        """End the span, and count it."""
        try:
            self._count(error)
        except Exception as fault:
            faults.report("ending a step", fault)
        try:
            self.span.end()
        except Exception as fault:
            faults.report("ending the span", fault)

    def _count(self, error: BaseException | None) -> None:
        recorder = active()
        failure: str | None = None
        if error is not None and not isinstance(error, GeneratorExit):
            failure = error_type(error)
            self.span.set_status(StatusCode.ERROR, stage().error(error))
            self.span.set_attribute(A.ERROR_TYPE, failure)
        if recorder is not None and recorder.metrics is not None:
            run = self._run or Run("", 0)
            seconds = time.perf_counter() - self._started
            recorder.metrics.steps.record(self._kind, self._name, seconds, failure, run.inferences, run.tools)

    def __enter__(self) -> Self:
        outer = get_current()
        enter(self, outer, self.start(outer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self)
        self.finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class _Block:
    """What `observe` gives: a decorator and a context manager, usable by many tasks and threads at once."""

    def __init__(self, name: str | None, kind: Kind) -> None:
        if kind not in _KINDS:
            raise ValueError(f"observe(kind=…) must be one of {', '.join(_KINDS)}, not {kind!r}")
        self._name = name
        self._kind: Kind = kind
        self._entered: list[Observation] = []

    def __enter__(self) -> Observation:
        observation = Observation(self._kind, self._name or self._kind)
        self._entered.append(observation)
        return observation.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered = self._entered
        try:
            observation = next((visit.block for visit in visits() if visit.block in entered), entered[-1])
            assert isinstance(observation, Observation)
            entered.remove(observation)
        except Exception as fault:
            faults.report("ending a step", fault)
            observation = entered.pop()
        observation.__exit__(kind, error, traceback)

    async def __aenter__(self) -> Observation:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        name = self._name or function.__name__

        def make(*args: Any, **kwargs: Any) -> Observation:
            return Observation(self._kind, name, (args, kwargs) if self._kind == "tool" else None)

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Context, Callable[..., None]]:
            observation = make(*args, **kwargs)
            return observation.start(get_current()), observation.finish

        if inspect.isasyncgenfunction(function):
            return cast(F, async_steps_in_context(function, begin))
        if inspect.isgeneratorfunction(function):
            return cast(F, steps_in_context(function, begin))
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def asynchronous(*args: Any, **kwargs: Any) -> Any:
                with make(*args, **kwargs):
                    return await function(*args, **kwargs)

            return cast(F, asynchronous)

        @functools.wraps(function)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            with make(*args, **kwargs):
                return function(*args, **kwargs)

        return cast(F, synchronous)


@overload
def observe(name: F, /) -> F: ...


@overload
def observe(name: str | None = None, *, kind: Kind = "task") -> _Block: ...


def observe(name: Any = None, *, kind: Kind = "task") -> Any:
    """Record a function or block of the application as a span that the calls inside belong to.

    Use it as `@genledger.observe(kind="agent")`, as bare `@genledger.observe`, or as
    `with genledger.observe("research", kind="agent") as run: …`. Generators are observed from their first
    item to their last.

    Args:
        name: What the span is called after; the function's own name by default.
        kind: `agent`, `tool`, `retrieval`, `workflow` or `task`, after the conventions' operations
            `invoke_agent`, `execute_tool`, `retrieval` and `invoke_workflow`; a task has none.

    Raises:
        ValueError: The kind is not one of these.
    """
    return _Block(None, kind)(name) if callable(name) else _Block(name, kind)
