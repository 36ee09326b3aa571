"""Frameworks whose steps are methods that we wrap: each call of one is a step around what it calls.

A budget's refusal ends an agent's run. Agents turn errors of tools into text for their model, and would go on: once a
step inside was refused, no other begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from inspect import isgenerator
from typing import Any, NamedTuple, Self

import wrapt
from opentelemetry.context import Context, create_key, get_current, set_value

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.context.scoped_context import Begun, ScopedBlock, enter, leave, steps_in_context
from genledger.engine.carried_refusals import refusal_in
from genledger.engine.operation import Content
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step, start_step
from genledger.instrumentation.adapters.methods import of_both_kinds
from genledger.instrumentation.adapters.refusals import Unwrapped
from genledger.instrumentation.patching import Wrapper
from genledger.shared import internal_errors

_KEY = create_key("genledger-step-method")


class StepCall(NamedTuple):
    """One call of a method, as a step.

    Args:
        kind: What the step does.
        name: Of the agent, tool, data source, workflow or task.
        attributes: Further attributes of its span; empty ones are left out.
        content: Returns what it is given; called where content is captured.
        result: Returns the content of what the method returned, or of a generator's last item.
        signature: Of a tool call, for budgets that count repeats.
        loops: Whether the framework goes on by itself when something inside fails, as agents do.
        hidden: Whether it has no span.
    """

    kind: Kind
    name: str
    attributes: Mapping[str, Any] = {}
    content: Callable[[], Content] | None = None
    result: Callable[[Any], Content] = lambda result: {}
    signature: str | None = None
    loops: bool = False
    hidden: bool = False


Describe = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], StepCall | None]
"""Given method, instance and arguments: describes the step that the call is, or returns `None` for plumbing."""


class RunningStep(ScopedBlock["RunningStep"]):
    """The step of one call of a method. It begins when the block is entered, or when a generator's items are asked for.

    Args:
        described: The call; `None` for plumbing, which is a part of the step around it.
        parent: The context that it belongs in.
    """

    __slots__ = ("_around", "_described", "_last", "_parent", "_step", "refused")

    def __init__(self, described: StepCall | None, parent: Context) -> None:
        self._described = described
        self._parent = parent
        self._around = _running(parent)
        self._step: Step | None = None
        self._last: Any = None
        self.refused: BudgetExceeded | None = None

    def start(self, outer: Context) -> Context:
        """Start the step; return the context that the method runs in."""
        described = self._described
        if described is None or described.hidden:
            return set_value(_KEY, self, outer)
        try:
            self._step = start_step(
                described.kind,
                described.name,
                parent=self._parent,
                attributes={name: value for name, value in described.attributes.items() if value},
                content=described.content,
                signature=described.signature,
            )
            return set_value(_KEY, self, self._step.inside(outer))
        except Exception as fault:
            internal_errors.report("starting a step", fault)
            return outer

    def items(self) -> Begun:
        """Begin, for a generator."""
        return Begun(self.start(self._parent), self.finish, self._collect)

    def _collect(self, item: Any) -> None:
        self._last = item

    def returned(self, result: Any) -> Any:
        """Note what the method returned; return it. Raises `BudgetExceeded` as `goes_on` does."""
        self.goes_on()
        self._last = result
        return result

    def goes_on(self) -> None:
        """Raise `BudgetExceeded` if a step was refused that the framework would go on after."""
        if self.refused is not None and self._described is not None and self._described.loops:
            raise self.refused

    def finish(self, error: BaseException | None = None) -> None:
        """End the step. What refused it is noted in the step around it."""
        if error is not None and self._around is not None:
            self._around.refused = refusal_in(error) or self._around.refused
        if self._step is None or self._described is None:
            return
        if error is None:
            self._step.write(partial(self._described.result, self._last))
        self._step.end(error)

    def __enter__(self) -> Self:
        outer = get_current()
        enter(self, outer, self.start(outer))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        leave(self)
        self.finish(error)


def _running(context: Context) -> RunningStep | None:
    step = context.get(_KEY)
    return step if isinstance(step, RunningStep) else None


def is_step(describe: Describe) -> Wrapper:
    """Return the wrapper of a method, coroutine function or not, whose calls are steps."""

    def begin(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunningStep | None:
        if active() is None:
            return None
        parent = get_current()
        try:
            parent = parent_context()
            described = describe(wrapped, instance, args, kwargs)
        except Exception as fault:
            internal_errors.report("describing a step", fault)
            return None
        around = _running(parent)
        if around is not None:
            around.goes_on()
        return RunningStep(described, parent) if described is not None or around is not None else None

    def plain(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        step = begin(wrapped, instance, args, kwargs)
        if step is None:
            return wrapped(*args, **kwargs)
        with step:
            return step.returned(wrapped(*args, **kwargs))

    async def coroutine(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        step = begin(wrapped, instance, args, kwargs)
        if step is None:
            return await wrapped(*args, **kwargs)
        with step:
            return step.returned(await wrapped(*args, **kwargs))

    return of_both_kinds(plain, coroutine)


def is_streamed_step(describe: Describe) -> Wrapper:
    """As `is_step`, for a method that prepares a run and returns the generator that is it.

    The step is from the first item to the last, in the context of who called the method; who reads it keeps its own.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = wrapped(*args, **kwargs)
        if active() is None or not isgenerator(source):
            return source
        try:
            described = describe(wrapped, instance, args, kwargs)
            step = RunningStep(described, parent_context()) if described is not None else None
        except Exception as fault:
            internal_errors.report("describing a step", fault)
            return source
        return source if step is None else steps_in_context(lambda: source, lambda args, kwargs: step.items())()

    return wrapper


def ends_loop_when_refused(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a generator function of an agent's loop: a refusal inside leaves it as itself, however it was handled."""
    return _ending(wrapped(*args, **kwargs))


def _ending(source: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    with Unwrapped() as outcome:
        value = yield from source
        around = _running(get_current())
        if around is not None:
            around.goes_on()
        return value
    raise outcome.refusal


def around(outer: Wrapper, inner: Wrapper) -> Wrapper:
    """Return the wrapper of a function that has two, one around the other."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return outer(wrapt.FunctionWrapper(wrapped, inner), instance, args, kwargs)

    return wrapper
