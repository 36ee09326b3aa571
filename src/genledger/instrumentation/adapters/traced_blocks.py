"""Frameworks that trace what they do in blocks (`with tracer.trace(…) as span:`), by a tracer of the application's.

Our step is beside the application's span, whichever tracer is set, and whenever: its tracer sees what it would see
alone. A block's context is attached while the block runs; where an application may read a generator within a block,
nothing is, and what is in it belongs to it by the parent that the framework names.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, NamedTuple

import wrapt
from opentelemetry.context import Context, create_key, get_current, set_value

from genledger.context.scoped_context import enter, leave
from genledger.engine.operation import Content
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.stepped_functions import Described
from genledger.instrumentation.patching import Wrapper
from genledger.shared import internal_errors


class TracedBlocks(NamedTuple):
    """Description of a framework's blocks.

    Args:
        framework: Its name.
        read: Makes the step of a block, of its operation, its tags, the name that the block around it gives, and what
            was `noted` for it; `None` for plumbing.
        naming: Returns the name that a block gives to what is in it.
        content: Returns the content that a tag has for a step of a kind.
        failing: Says of a tag, and the error being handled, if that is the block's, though nothing is raised.
        cause: Returns what failed behind an error.
        unattached: The operations in which an application may read a generator.
    """

    framework: str
    read: Callable[[str, Mapping[str, Any], str | None, Any], Described | None]
    naming: Callable[[str, Mapping[str, Any]], str | None]
    content: Callable[[Kind, str, Any], Content]
    failing: Callable[[str, BaseException | None], bool]
    cause: Callable[[BaseException | None], BaseException | None]
    unattached: Collection[str]

    def trace(self, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the method that traces a block."""
        given = named_arguments(wrapped, args, kwargs)
        parent, operation = given.get("parent_span"), given.get("operation_name")
        if isinstance(parent, _TracedSpan):
            given["parent_span"] = parent.__wrapped__
        traced = wrapped(**given)
        if active() is None or not isinstance(operation, str):
            return traced
        return _TracedBlock(self, traced, operation, given.get("tags"), parent)


def current_span(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap the method that returns the span of the block that is traced here."""
    here = get_current().get(_KEY)
    return here if isinstance(here, _TracedSpan) else wrapped(*args, **kwargs)


def noting(argument: str) -> Wrapper:
    """Return the wrapper of a function that begins a block: what it is given as an argument is noted for that."""

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        _NOTED.set(named_arguments(wrapped, args, kwargs).get(argument))
        return wrapped(*args, **kwargs)

    return wrapper


_KEY = create_key("genledger-traced-block")

_NOTED: ContextVar[Any] = ContextVar("genledger-noted", default=None)


class _TracedSpan(wrapt.ObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """A span of the application's tracer, and our block beside it."""

    def __init__(self, span: Any, block: _TracedBlock) -> None:
        super().__init__(span)
        self._self_block = block

    def set_tag(self, key: str, value: Any) -> None:
        self._self_block.tagged(key)
        self.__wrapped__.set_tag(key, value)

    def set_content_tag(self, key: str, value: Any) -> None:
        self._self_block.write(key, value)
        self.__wrapped__.set_content_tag(key, value)


class _TracedBlock:
    """A block that the application's tracer traces, and we.

    Attributes:
        within: The step that it is or, as plumbing, is in.
        naming: The name that it gives to what is in it.
    """

    def __init__(self, blocks: TracedBlocks, traced: Any, operation: str, tags: Any, parent: Any) -> None:
        self._blocks = blocks
        self._traced = traced
        self._operation = operation
        self._tags: Mapping[str, Any] = tags or {}
        self._parent = parent
        self._found: Described | None = None
        self._step: Step | None = None
        self._error: BaseException | None = None
        self.within: Step | None = None
        self.naming: str | None = None

    def __enter__(self) -> Any:
        span = self._traced.__enter__()
        try:
            return self._begin(span)
        except Exception as fault:
            internal_errors.report(f"beginning a step of {self._blocks.framework}", fault)
            return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Any:
        leave(self)
        try:
            if self._step is not None:
                self._step.end(self._blocks.cause(error or self._error))
        except Exception as fault:
            internal_errors.report(f"ending a step of {self._blocks.framework}", fault)
        return self._traced.__exit__(kind, error, traceback)

    def tagged(self, tag: str) -> None:
        """Note what failed, if a tag says that something did."""
        handled = sys.exception()
        if self._blocks.failing(tag, handled):
            self._error = handled

    def write(self, tag: str, value: Any) -> None:
        """Write what a tag has to the step, and note what failed."""
        self.tagged(tag)
        step, found = self._step, self._found
        if step is not None and found is not None:
            step.write(lambda: self._blocks.content(found.kind, tag, value))

    def _begin(self, span: Any) -> _TracedSpan:
        here = get_current()
        named = self._parent if isinstance(self._parent, _TracedSpan) else here.get(_KEY)
        around = named._self_block if isinstance(named, _TracedSpan) else None
        context = _context(around, here)
        noted = _NOTED.get()
        _NOTED.set(None)
        self._found = found = self._blocks.read(
            self._operation, self._tags, around.naming if around is not None else None, noted
        )
        self.naming = self._blocks.naming(self._operation, self._tags)
        self.within = around.within if around is not None else None
        if found is not None:
            self.within = self._step = found.begin(context)
            weakref.finalize(self, self._step.end).atexit = False  # a block that is dropped without an end
            context = self._step.inside(context)
        traced = _TracedSpan(span, self)
        if self._operation not in self._blocks.unattached:
            enter(self, here, set_value(_KEY, traced, context))
        return traced


def _context(around: _TracedBlock | None, here: Context) -> Context:
    step = around.within if around is not None else None
    if step is None:
        return parent_context()
    return step.within(here)
