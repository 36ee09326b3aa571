"""Spans for the application's own agents, tools, retrievals, workflows and tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, Span

from genledger.context.scoped_context import Begun, F, ScopedBlock, enter, in_block, leave, visits
from genledger.context.totals import Spend
from genledger.engine.operation import Content
from genledger.engine.steps import OPERATIONS, Kind, Step, captures, start_step
from genledger.engine.tool_signatures import tool_signature
from genledger.shared import internal_errors

R = TypeVar("R")

MAX_COLLECTED = 1_000_000
"""Characters of an observed generator's texts that are kept until it ends."""

_Given = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""An observed function, and what it is called with."""


def _arguments(kind: Kind, given: _Given) -> Content:
    from genledger.engine.content.step_content import arguments_of

    return arguments_of(kind, *given)


def _result(kind: Kind, result: Any) -> Content:
    from genledger.engine.content.step_content import result_of

    return result_of(kind, result)


class Observation(ScopedBlock["Observation"]):
    """One observed block. `spend()` returns the cost of the calls inside so far."""

    __slots__ = ("_given", "_kind", "_name", "_step", "_texts")

    def __init__(self, kind: Kind, name: str, given: _Given | None = None) -> None:
        self._kind = kind
        self._name = name
        self._given = given
        self._step: Step | None = None
        self._texts: list[str] = []

    @property
    def span(self) -> Span:
        """Return the span of the block."""
        return self._step.span if self._step is not None else INVALID_SPAN

    def spend(self) -> Spend:
        """Return the cost of the calls inside this block so far."""
        return self._step.spend.read() if self._step is not None else Spend(0.0, 0, 0, 0)

    def start(self, outer: Context) -> Context:
        """Start the span and return the context to run in: the same one, when a fault of ours is in the way."""
        given, self._given = self._given, None  # a context that is kept must not keep the values
        content = None if given is None else functools.partial(_arguments, self._kind, given)
        try:
            self._step = start_step(self._kind, self._name, content=content, signature=self._signature(given))
            return self._step.inside(outer)
        except Exception as fault:
            internal_errors.report("starting a step", fault)
            return outer

    def _signature(self, given: _Given | None) -> str:
        if self._kind != "tool":
            return self._name
        return tool_signature(self._name, None if given is None else given[1:])

    def returned(self, result: R) -> R:
        """Put the result of the observed function on the span, where content is captured; return it."""
        if self._step is not None:
            self._step.write(functools.partial(_result, self._kind, result))
        return result

    def collector(self) -> Callable[[Any], None] | None:
        """Return what takes the items of an observed generator: its texts are its result; `None` if not captured."""
        try:
            if self._step is None or not captures():
                return None
        except Exception as fault:
            internal_errors.report("capturing the content of a step", fault)
            return None
        self._texts = texts = []
        length = 0

        def collect(item: Any) -> None:
            nonlocal length
            if isinstance(item, str) and length < MAX_COLLECTED:
                texts.append(item)
                length += len(item)

        return collect

    def finish(self, error: BaseException | None = None) -> None:
        """End the span, and count it."""
        if self._step is not None:
            if self._texts:
                self.returned("".join(self._texts))
            self._step.end(error)

    def __enter__(self) -> Self:
        outer = get_current()
        enter(self, outer, self.start(outer))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self)
        self.finish(error)


class ObservedBlock(ScopedBlock[Observation]):
    """Decorator and context manager returned by `observe`; many tasks and threads can use it at once."""

    def __init__(self, name: str | None, kind: Kind) -> None:
        if kind not in OPERATIONS:
            raise ValueError(f"observe(kind=…) must be one of {', '.join(OPERATIONS)}, not {kind!r}")
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
            internal_errors.report("ending a step", fault)
            observation = entered.pop()
        observation.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        name = self._name or function.__name__

        def make(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Observation:
            return Observation(self._kind, name, (function, args, kwargs))

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
            observation = make(args, kwargs)
            return Begun(observation.start(get_current()), observation.finish, observation.collector())

        observed = in_block(function, make, begin, Observation.returned)
        setattr(observed, _KIND, self._kind)
        return observed


_KIND = "_genledger_kind"


def observed_tool(function: F) -> F:
    """Return a function that runs as a tool: one that the application itself observes as such is as it is."""
    return function if getattr(function, _KIND, None) == "tool" else ObservedBlock(None, "tool")(function)


@overload
def observe(name: F, /) -> F: ...


@overload
def observe(name: str | None = None, *, kind: Kind = "task") -> ObservedBlock: ...


def observe(name: Any = None, *, kind: Kind = "task") -> Any:
    """Record a function or block of the application as a span around the calls inside.

    Use it as `@genledger.observe(kind="agent")`, as bare `@genledger.observe`, or as
    `with genledger.observe("research", kind="agent") as run: …`. Generators are observed from their first
    item to their last.

    Args:
        name: Name in the span's name (default: the function's name).
        kind: `agent`, `tool`, `retrieval`, `workflow` or `task`, after the conventions' operations
            `invoke_agent`, `execute_tool`, `retrieval` and `invoke_workflow`; a task has none.

    Raises:
        ValueError: The kind is not one of these.
    """
    return ObservedBlock(None, kind)(name) if callable(name) else ObservedBlock(name, kind)
