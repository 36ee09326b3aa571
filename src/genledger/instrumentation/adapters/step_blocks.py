"""Frameworks with middleware: a block of ours around what it calls next, as a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.context import get_current

from genledger.context.scoped_context import enter, leave
from genledger.engine.recorder import active
from genledger.engine.steps import Step
from genledger.shared import internal_errors


@contextmanager
def step_block(start: Callable[[], Step]) -> Iterator[Step | None]:
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
