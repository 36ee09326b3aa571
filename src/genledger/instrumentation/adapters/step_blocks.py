"""Frameworks with middleware, or with functions that are steps: a block of ours around what runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any

from opentelemetry.context import get_current

from genledger.context.scoped_context import Begun, async_steps_in_context, enter, leave
from genledger.engine.recorder import active
from genledger.engine.steps import Step
from genledger.instrumentation.adapters.methods import kind_of
from genledger.instrumentation.patching import Wrapper
from genledger.shared import internal_errors

Begin = Callable[[Any, tuple[Any, ...], dict[str, Any]], Step | None]
"""`begin(instance, args, kwargs)`: begin the step that a call of a method is; `None` where it is none."""

Returned = Callable[[Step, Any], None]
"""`returned(step, result)`: write what a method returned, or the last item of a generator, to its step."""

Seen = Callable[[Exception], Exception]
"""`seen(error)`: return the error that the application is to see for one; usually the same."""


@contextmanager
def step_block(start: Callable[[], Step | None]) -> Iterator[Step | None]:
    """Run a block, of a function or a coroutine, in a step that ends with it; never in a generator's.

    Args:
        start: Begins the step.

    Yields:
        The step; `None` while nothing is recorded, or when a fault of ours is in the way.
    """
    step: Step | None = None
    try:
        if active() is not None:
            step = start()
            if step is not None:
                here = get_current()
                enter(step, here, step.inside(here))
    except Exception as fault:
        internal_errors.report("starting a step", fault)
    try:
        yield step
    except BaseException as error:
        _end(step, error)
        raise
    _end(step, None)


def _end(step: Step | None, error: BaseException | None) -> None:
    if step is not None:
        leave(step)
        step.end(error)


def stepped(begin: Begin, returned: Returned, seen: Seen | None = None) -> Wrapper:
    """Return the wrapper of a coroutine function, or of an asynchronous generator function, whose calls are steps.

    Who reads a generator keeps their own context.
    """

    async def awaited(start: Callable[[], Step | None], result: Callable[[], Awaitable[Any]]) -> Any:
        with step_block(start) as step:
            given = await result()
            if step is not None:
                returned(step, given)
            return given

    def read(start: Callable[[], Step | None], items: Callable[..., Any]) -> AsyncIterator[Any]:
        step: Step | None = None
        last: Any = None

        def enter_generator(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Begun:
            nonlocal step
            here = get_current()
            try:
                step = start() if active() is not None else None
            except Exception as fault:
                internal_errors.report("starting a step", fault)
            return Begun(here if step is None else step.inside(here), ended, keep)

        def keep(item: Any) -> None:
            nonlocal last
            last = item

        def ended(error: BaseException | None) -> None:
            if step is not None:
                if error is None and last is not None:
                    returned(step, last)
                step.end(error)

        read = items if seen is None else partial(_with_errors, items, seen)
        return async_steps_in_context(read, enter_generator)()

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        start = partial(begin, instance, args, kwargs)
        run = read if kind_of(wrapped) == "async generator" else awaited
        return run(start, partial(wrapped, *args, **kwargs))

    return wrapper


async def _with_errors(items: Callable[[], AsyncGenerator[Any, Any]], seen: Seen) -> AsyncGenerator[Any, Any]:
    try:
        async with aclosing(items()) as source:
            async for item in source:
                yield item
        return
    except Exception as error:
        shown = seen(error)
        if shown is error:
            raise
    raise shown
