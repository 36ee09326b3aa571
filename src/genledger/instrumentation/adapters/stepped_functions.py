"""Frameworks whose functions are steps: a patch of each, and the function runs in the context of its step.

What a function returns may be lazy: a coroutine or a generator. Then the step goes on in it, and is current there
alone: whoever awaits or reads it keeps their own context. A coroutine function, or a generator function, begins its
step when it begins, where it was called.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from inspect import isasyncgen, iscoroutine, isgenerator
from typing import Any, NamedTuple

from opentelemetry.context import Context, get_current

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.context.scoped_context import Begun, async_steps_in_context, enter, leave, steps_in_context
from genledger.engine.carried_refusals import RefusalScope, refusal_scope
from genledger.engine.operation import Content
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step, start_step
from genledger.instrumentation.adapters.methods import kind_of, named_arguments
from genledger.instrumentation.patching import Patch, Wrapper
from genledger.shared import internal_errors

MAX_ITEMS = 10_000
"""Items of a generator that are kept until it ends: of more, the last."""

BEYOND = "*"
"""The name of the arguments that are beyond a function's named ones."""


class ReportedError(Exception):
    """An error that a framework tells of in a result, having kept the exception to itself."""


@dataclass(slots=True, frozen=True)
class Described:
    """What one call of a framework's function is.

    Args:
        kind: Its kind of step.
        name: Of the agent, tool, data source, workflow or task.
        attributes: Further attributes; those that are empty are left out.
        content: What it is given, or a function that returns it.
        signature: Of a tool call, for budgets that count repeats.
        user: Who it is for, as the framework knows; it holds where the application gave nobody.
        session: Which conversation or visit it belongs to, likewise.
        carried: Whether what runs is the framework's own code, which a budget's refusal passes whatever that catches.
        loops: Whether what runs would go on after a refused step in it. It ends with the refusal instead.
        hidden: Whether it has no span: plumbing, which has a context of its own and is asked about refusals.
    """

    kind: Kind
    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    content: Content | Callable[[], Content] | None = None
    signature: str | None = None
    user: object = None
    session: object = None
    carried: bool = False
    loops: bool = False
    hidden: bool = False

    def begin(self, parent: Context) -> Step:
        """Begin the step in a context, as `start_step` does."""
        return start_step(
            self.kind,
            self.name,
            parent=parent,
            attributes=self.attributes,
            content=self.content,
            signature=self.signature,
            user=self.user,
            session=self.session,
        )


PLUMBING = Described("task", "", hidden=True)
"""What has no span."""


class SteppedCall:
    """One call of a function that is a step.

    Attributes:
        instance: Whose method it is.
        described: What it is.
    """

    __slots__ = ("_begun", "_goes_on", "_items", "_outer", "_parent", "_reading", "_scope", "described", "instance")

    def __init__(self, instance: Any, described: Described, reading: Reading) -> None:
        self.instance = instance
        self.described = described
        self._parent = get_current() if described.hidden else parent_context()
        self._outer: Context | None = None
        self._reading = reading
        self._items: deque[Any] = deque(maxlen=1 if reading.last else MAX_ITEMS)
        self._goes_on = False
        self._scope = RefusalScope(described.carried, described.loops)
        self._begun: list[Step] = []

    def inside(self) -> Context:
        """Return the context that the function runs in, once the step has begun.

        Raises:
            BudgetExceeded: A step was refused that the code around would go on after.
        """
        if self._outer is None:
            around = refusal_scope(self._parent)
            if around is not None:
                around.goes_on()
            self._outer = self._begin()
        return self._scope.inside(self._outer)

    def _begin(self) -> Context:
        described = self.described
        if described.hidden:
            return self._parent
        try:
            step = described.begin(self._parent)
            self._begun.append(step)
            return step.inside(step.outer)
        except Exception as fault:
            internal_errors.report("starting a step", fault)
            return self._parent

    def write(self, content: Content | Callable[[], Content]) -> None:
        """Put content on the step's span, as `Step.write` does."""
        for step in self._begun:
            step.write(content)

    def told(self, text: Any) -> Exception:
        """Return the error that a framework has made a text of: a budget's refusal, if it was one."""
        refused = self._scope.refused
        return refused if refused is not None and text == str(refused) else ReportedError(str(text))

    def returned(self, result: Any) -> Any:
        """End the step, unless it goes on in the result; return what the application gets."""
        lazy = self.goes_on(result)
        if lazy is result:
            self._complete(result)
        return lazy

    def goes_on(self, result: Any) -> Any:
        """Return what the application gets for a result: if it is lazy, another one, in which the step goes on."""
        lazy: Any
        if iscoroutine(result):
            lazy = self._await(result)
        elif isgenerator(result):
            lazy = steps_in_context(partial(self._read, result), self._reads)()
        elif isasyncgen(result):
            lazy = async_steps_in_context(partial(self._read_async, result), self._reads)()
        else:
            return result
        self._goes_on = True
        dropped = weakref.finalize(lazy, _drop, self._begun, result if iscoroutine(result) else None)
        dropped.atexit = False
        return lazy

    def failed(self, error: BaseException) -> BaseException:
        """End the step with an error; return it as the code around is to see it."""
        seen = error
        try:
            shown = self._reading.error(error) if isinstance(error, Exception) else error
            seen = self._scope.leaving(shown)
        except Exception as fault:
            internal_errors.report("reading the error of a step", fault)
        self._end(seen)
        return seen

    def _complete(self, result: Any) -> None:
        self._goes_on = False
        error: BaseException | None = None
        try:
            self._scope.goes_on()
            error = self._reading.finish(self, result)
        except BudgetExceeded as refusal:
            error = refusal
        except Exception as fault:
            internal_errors.report("reading the result of a step", fault)
        if isinstance(error, BudgetExceeded):
            raise self.failed(error)
        if not self._goes_on:
            self._end(error)

    def _completed_items(self) -> None:
        items = list(self._items)
        self._complete((items[0] if items else None) if self._reading.last else items)

    def _end(self, error: BaseException | None) -> None:
        for step in self._begun:
            step.end(error)

    def _reads(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        return Begun(self.inside(), lambda error: None, self._items.append)

    async def _await(self, result: Coroutine[Any, Any, Any]) -> Any:
        try:
            enter(self, get_current(), self.inside())
            answer = await result
        except BaseException as error:
            result.close()
            seen = self.failed(error)
            if seen is error:
                raise
        else:
            return self.returned(answer)
        finally:
            leave(self)
        raise seen

    def _read(self, result: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            answer = yield from result
        except BaseException as error:
            seen = self.failed(error)
            if seen is error:
                raise
        else:
            self._completed_items()
            return answer
        raise seen

    async def _read_async(self, result: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        try:
            async with aclosing(result):
                async for item in result:
                    yield item
        except BaseException as error:
            seen = self.failed(error)
            if seen is error:
                raise
        else:
            self._completed_items()
            return
        raise seen


Describe = Callable[[Any, dict[str, Any]], Described | None]
"""`describe(instance, arguments)`: tell what a call is, from its named arguments, and those `BEYOND`; `None` if it is
no step."""

Finish = Callable[[SteppedCall, Any], BaseException | None]
"""`finish(call, result)`: write what the function returned, or the items that it yielded, in a list, to the step;
return the error that this tells of, if it does."""


class Reading(NamedTuple):
    """How it is read what a function gives; see `stepping`."""

    finish: Finish
    last: bool
    error: Callable[[Exception], Exception]


def nothing(call: SteppedCall, result: Any) -> None:
    """Read nothing of a result."""


def stepping(
    describe: Describe,
    finish: Finish = nothing,
    *,
    last: bool = False,
    error: Callable[[Exception], Exception] = lambda error: error,
) -> Wrapper:
    """Return the wrapper of a function that is a step, whatever it returns: a result, a coroutine or a generator.

    Args:
        describe: Tells what a call of it is.
        finish: Reads its result.
        last: Whether the last item of a generator is its result, `None` if it has none; else that is all of them.
        error: Returns the error that the application is to see for one.
    """
    reading = Reading(finish, last, error)

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if active() is None:
            return wrapped(*args, **kwargs)
        call: SteppedCall | None = None
        try:
            described = describe(instance, named_arguments(wrapped, args, kwargs, BEYOND))
            call = None if described is None else SteppedCall(instance, described, reading)
        except Exception as fault:
            internal_errors.report("describing a step", fault)
        if call is None:
            return wrapped(*args, **kwargs)
        if kind_of(wrapped) != "plain":
            return call.goes_on(wrapped(*args, **kwargs))
        enter(call, get_current(), call.inside())
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            seen = call.failed(error)
            if seen is error:
                raise
        else:
            return call.returned(result)
        finally:
            leave(call)
        raise seen

    return wrapper


def stepped(module: str, path: str, describe: Describe, finish: Finish = nothing, *, optional: bool = False) -> Patch:
    """Return the patch of a function that is a step.

    Args:
        module: The module that the function is in.
        path: The function.
        describe: Tells what a call of it is.
        finish: Reads its result.
        optional: Whether only some versions have it.
    """
    return Patch(module, path, stepping(describe, finish), optional=optional)


def _drop(begun: list[Step], coroutine: Coroutine[Any, Any, Any] | None) -> None:
    """End the step of what is never read, and spare the application a second warning of that.

    What the call knows may hold its result, which would never be dropped.
    """
    if coroutine is not None:
        coroutine.close()
    for step in begun:
        step.end()
