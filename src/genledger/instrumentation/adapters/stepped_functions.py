"""Frameworks whose functions are steps: a patch of each, and the function runs in the context of its step.

What a function returns may be lazy: a coroutine or a generator. Then the step goes on in it, and is current there
alone: whoever awaits or reads it keeps their own context.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from inspect import isasyncgen, iscoroutine, isgenerator
from typing import Any

from opentelemetry.context import Context, get_current

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.context.attribution import attribution, current
from genledger.context.scoped_context import Begun, async_steps_in_context, enter, leave, steps_in_context
from genledger.engine.carried_refusals import RefusalScope
from genledger.engine.operation import Content
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step, start_step
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.patching import Patch
from genledger.shared import internal_errors

MAX_ITEMS = 10_000
"""Items of a generator that are kept until it ends: of more, the last."""


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
        who: Attribution that the framework knows, by field; it holds where the application gave none.
        application: Whether what runs is the application's own code: it sees a budget's refusal as it is.
    """

    kind: Kind
    name: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    content: Content | Callable[[], Content] | None = None
    signature: str | None = None
    who: Mapping[str, Any] = field(default_factory=dict)
    application: bool = False


class SteppedCall:
    """One call of a function that is a step.

    Attributes:
        instance: Whose method it is.
        step: Its step.
    """

    __slots__ = ("__weakref__", "_finish", "_goes_on", "_items", "_scope", "instance", "step")

    def __init__(self, instance: Any, described: Described, finish: Finish) -> None:
        self.instance = instance
        self._finish = finish
        self._items: list[Any] = []
        self._goes_on = False
        self._scope = RefusalScope(carried=not described.application)
        self.step: Step = start_step(
            described.kind,
            described.name,
            parent=_attributed(parent_context(), described.who),
            attributes={key: value for key, value in described.attributes.items() if value},
            content=described.content,
            signature=described.signature,
        )

    def inside(self) -> Context:
        """Return the context that the function runs in."""
        return self._scope.inside(self.step.inside(self.step.outer))

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
            lazy = steps_in_context(partial(self._read, result), self._begin)()
        elif isasyncgen(result):
            lazy = async_steps_in_context(partial(self._read_async, result), self._begin)()
        else:
            return result
        self._goes_on = True
        dropped = weakref.finalize(lazy, _drop, self.step, result if iscoroutine(result) else None)
        dropped.atexit = False
        return lazy

    def failed(self, error: BaseException) -> BaseException:
        """End the step with an error; return it as the code around is to see it."""
        seen = self._scope.leaving(error)
        self.step.end(seen)
        return seen

    def _complete(self, result: Any) -> None:
        self._goes_on = False
        error: BaseException | None = None
        try:
            error = self._finish(self, result)
        except Exception as fault:
            internal_errors.report("reading the result of a step", fault)
        if isinstance(error, BudgetExceeded):
            raise self.failed(error)
        if not self._goes_on:
            self.step.end(error)

    def _begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
        return Begun(self.inside(), lambda error: None, self._keep)

    def _keep(self, item: Any) -> None:
        self._items.append(item)
        if len(self._items) > MAX_ITEMS:
            del self._items[0]

    async def _await(self, result: Coroutine[Any, Any, Any]) -> Any:
        enter(self, get_current(), self.inside())
        try:
            answer = await result
        except BaseException as error:
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
            self._complete(self._items)
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
            self._complete(self._items)
            return
        raise seen


Describe = Callable[[Any, dict[str, Any]], Described | None]
"""`describe(instance, arguments)`: tell what a call is, from its named arguments; `None` if it is no step."""

Finish = Callable[[SteppedCall, Any], BaseException | None]
"""`finish(call, result)`: write what the function returned, or the items that it yielded, in a list, to the step;
return the error that this tells of, if it does."""


def stepped(module: str, path: str, describe: Describe, finish: Finish, *, optional: bool = False) -> Patch:
    """Return the patch of a function that is a step, whatever it returns: a result, a coroutine or a generator.

    Args:
        module: The module that the function is in.
        path: The function.
        describe: Tells what a call of it is.
        finish: Reads its result.
        optional: Whether only some versions have it.
    """

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if active() is None:
            return wrapped(*args, **kwargs)
        call: SteppedCall | None = None
        try:
            described = describe(instance, named_arguments(wrapped, args, kwargs))
            call = None if described is None else SteppedCall(instance, described, finish)
        except Exception as fault:
            internal_errors.report("starting a step", fault)
        if call is None:
            return wrapped(*args, **kwargs)
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

    return Patch(module, path, wrapper, optional=optional)


def _attributed(context: Context, who: Mapping[str, Any]) -> Context:
    before = current(context)
    new: dict[str, Any] = {name: str(value) for name, value in who.items() if value and getattr(before, name) is None}
    if not new:
        return context
    try:
        return attribution(**new).inside(context)
    except ValueError:  # the framework takes ids that are no attribution: too long, or not printable
        return context


def _drop(step: Step, coroutine: Coroutine[Any, Any, Any] | None) -> None:
    """End a step that was never begun, and spare the application a second warning of that."""
    if coroutine is not None:
        coroutine.close()
    step.end()
