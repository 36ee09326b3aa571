"""Run blocks of code and generators in their own context, and restore the previous one afterwards.

A context that stayed attached would become that of whatever runs next in the same thread or task: the next call
of another tenant would be billed to the wrong one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

from opentelemetry.context import Context, attach, create_key, get_current, set_value

from genledger.shared import internal_errors


class Begun(NamedTuple):
    """A generator that is about to run.

    Args:
        inside: The context that it runs in.
        ended: Called when it has ended, with the error that ended it.
        yielded: Called with each of its items.
    """

    inside: Context
    ended: Callable[[BaseException | None], None]
    yielded: Callable[[Any], None] | None = None


Begin = Callable[[tuple[Any, ...], dict[str, Any]], Begun]
"""Begins a generator, given its arguments."""

_VISIT_KEY = create_key("genledger-visit")


class ScopedContext:
    """One entered block: its context, and the previous one."""

    __slots__ = ("block", "inside", "outer")

    def __init__(self, block: object, outer: Context, inside: Context) -> None:
        self.block = block
        self.outer = outer
        self.inside = set_value(_VISIT_KEY, self, inside)


def enter(block: object, outer: Context, inside: Context) -> None:
    """Make a context current until `leave` is called for the same block."""
    try:
        attach(ScopedContext(block, outer, inside).inside)
    except Exception as error:
        internal_errors.report("entering a block", error)


def leave(block: object) -> None:
    """Restore the context from before the block, in whatever order blocks are left.

    What is remembered is in the context itself, so that one block can be entered by many tasks and threads. In a
    context that the block was not entered in (a generator finished elsewhere), nothing is ours to change.
    """
    for _ in range(2):  # a fault may pass, a context that is left behind stays
        nearer: ScopedContext | None = None
        try:
            for visit in visits():
                if visit.block is block:
                    if visit.inside is get_current():
                        attach(visit.outer)
                    elif nearer is not None and nearer.outer is visit.inside:
                        nearer.outer = visit.outer
                    return
                nearer = visit
            return
        except Exception as error:
            internal_errors.report("leaving a block", error)


def visits() -> Iterator[ScopedContext]:
    """Return the blocks of the current context, from the innermost outwards."""
    visit = cast("ScopedContext | None", get_current().get(_VISIT_KEY))
    while visit is not None:
        yield visit
        visit = cast("ScopedContext | None", visit.outer.get(_VISIT_KEY))


def steps_in_context(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """Wrap a generator function so that each step runs in its own context; the consumer keeps its own."""

    @functools.wraps(function)
    def generate(*args: Any, **kwargs: Any) -> Any:
        inside, ended, yielded = begin(args, kwargs)
        steps = function(*args, **kwargs)
        send: Any = None
        thrown: BaseException | None = None
        try:
            while True:
                outer = get_current()
                attach(inside)
                try:
                    item = steps.throw(thrown) if thrown is not None else steps.send(send)
                finally:
                    # Not the same as before: the generator may be within a block of its own.
                    inside = get_current()
                    attach(outer)
                send = thrown = None
                if yielded is not None:
                    yielded(item)
                try:
                    send = yield item
                except GeneratorExit:
                    outer = get_current()
                    attach(inside)
                    try:
                        steps.close()
                    finally:
                        attach(outer)
                    raise
                except BaseException as error:
                    thrown = error
        except StopIteration as stop:
            ended(None)
            return stop.value
        except BaseException as error:
            ended(error)
            raise

    return generate


def async_steps_in_context(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """The same for an asynchronous generator function."""

    @functools.wraps(function)
    async def generate(*args: Any, **kwargs: Any) -> Any:
        inside, ended, yielded = begin(args, kwargs)
        steps = function(*args, **kwargs)
        send: Any = None
        thrown: BaseException | None = None
        try:
            while True:
                outer = get_current()
                attach(inside)
                try:
                    item = await (steps.athrow(thrown) if thrown is not None else steps.asend(send))
                finally:
                    inside = get_current()
                    attach(outer)
                send = thrown = None
                if yielded is not None:
                    yielded(item)
                try:
                    send = yield item
                except GeneratorExit:
                    outer = get_current()
                    attach(inside)
                    try:
                        await steps.aclose()
                    finally:
                        attach(outer)
                    raise
                except BaseException as error:
                    thrown = error
        except StopAsyncIteration:
            ended(None)
        except BaseException as error:
            ended(error)
            raise

    return generate
