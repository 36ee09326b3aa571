"""Frameworks that emit events where things happen, and keep those that have begun and not ended on a stack.

Nothing is attached when an event comes. The step that it begins is that of the runs whose event is on the stack, in
each thread and task as the framework passes its stack on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from genledger.engine.operation import Content
from genledger.engine.recorder import active
from genledger.instrumentation.adapters.callbacks import MAX_OPEN, Runs
from genledger.instrumentation.adapters.methods import named_arguments, of_both_kinds
from genledger.instrumentation.adapters.native_parents import add_resolver, remove_resolver
from genledger.instrumentation.adapters.stepped_functions import Described
from genledger.instrumentation.patching import Hook, Patch
from genledger.shared import internal_errors

Stack = tuple[tuple[str, str], ...]
"""Ids and types of the events that are open here, from the outermost inwards."""


class Opened(NamedTuple):
    """Event that began a step: its type, the `id` of what emitted it, and the event of the step around it."""

    type: str
    source: int
    parent: str | None


@dataclass(slots=True, frozen=True)
class EventScopes:
    """The steps of a framework's events.

    Args:
        framework: Its name.
        stack: Returns the events that are open here.
        begins: Returns what type of event an event ends, by its type; `None` if it ends none.
        describe: Returns the step that an event begins, from its source, the event and the type of the one around it.
        error: Returns the error that an event ends with.
        content: Returns what an event says that its step has given.
        stops: Returns the error to raise from an event, after whose error the framework would go on.
    """

    framework: str
    stack: Callable[[], Stack]
    begins: Callable[[str], str | None]
    describe: Callable[[Any, Any, str | None], Described | None]
    error: Callable[[Any], BaseException | None]
    content: Callable[[Any], Content]
    stops: Callable[[Any, BaseException | None], BaseException | None]
    _open: dict[str, Opened] = field(default_factory=dict)
    _runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_runs", Runs(self._current))

    def hook(self, module: str) -> Hook:
        """Return the hook that makes the open steps the parents of what happens in them, once a module is imported.

        Where it is removed, the open steps end: nothing hears of the events that would end them.
        """
        resolve = self._runs.resolve

        def remove(found: Any) -> None:
            remove_resolver(resolve)
            for event, _ in self._opened()[::-1]:
                self._close(event, None)

        return Hook(module, lambda found: add_resolver(resolve), remove)

    def emits(self, module: str, path: str) -> Patch:
        """Return the patch of the method that emits events; its arguments are a `source` and an `event`."""

        def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if active() is None:
                return wrapped(*args, **kwargs)
            before: Stack = ()
            parent: Any = None
            stop: BaseException | None = None
            try:
                before, parent = self.stack(), self._current()
            except Exception as fault:
                self._report(fault)
            result = wrapped(*args, **kwargs)
            try:
                given = named_arguments(wrapped, args, kwargs)
                source, event = given.get("source"), given["event"]
                self._begin(source, event, before, parent)
                stop = self.stops(event, self._end(source, event, before))
            except Exception as fault:
                self._report(fault)
            if stop is not None:
                raise stop
            return result

        return Patch(module, path, wrapper)

    def runs(self, module: str, path: str) -> Patch:
        """Return the patch of what runs something, coroutine function or not.

        A framework emits nothing of what is no `Exception`, such as a task's cancellation: that ends all in it.
        """

        def plain(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            before = self._depth()
            try:
                return wrapped(*args, **kwargs)
            except BaseException as error:
                self._leave(before, error)
                raise

        async def coroutine(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            before = self._depth()
            try:
                return await wrapped(*args, **kwargs)
            except BaseException as error:
                self._leave(before, error)
                raise

        return Patch(module, path, of_both_kinds(plain, coroutine))

    def _current(self) -> Any:
        return next((event for event, _ in reversed(self.stack()) if self._runs.step_of(event) is not None), None)

    def _begin(self, source: Any, event: Any, before: Stack, parent: str | None) -> None:
        begun = self.describe(source, event, before[-1][1] if before else None)
        if begun is None:
            return
        self._runs.start(
            *(event.event_id, parent, begun.kind, begun.name, begun.attributes, begun.content),
            signature=begun.signature,
        )
        self._open[event.event_id] = Opened(event.type, id(source), parent)
        if len(self._open) > MAX_OPEN:
            self._open.pop(next(iter(self._open)), None)

    def _end(self, source: Any, event: Any, before: Stack) -> BaseException | None:
        """End the step that an event ends, and those in it that have no end of their own; return the error.

        Where a framework ends something twice, the event that began the step is off the stack by then.
        """
        begins = self.begins(event.type)
        if begins is None:
            return None
        here = next((at for at in reversed(range(len(before))) if before[at][1] == begins), len(before))
        asked = (begins, id(source))
        begun = before[here][0] if here < len(before) else None
        if begun is None:
            begun = next((one for one, opened in self._opened()[::-1] if opened[:2] == asked), None)
        error = self.error(event)
        for within, _ in reversed(before[here + 1 :]):
            self._close(within, error)
        self._close(begun, error, lambda: self.content(event))
        return error

    def _depth(self) -> int | None:
        try:
            return len(self.stack())
        except Exception as fault:
            self._report(fault)
            return None

    def _leave(self, before: int | None, error: BaseException) -> None:
        if before is None or isinstance(error, Exception):
            return
        try:
            within = {event for event, _ in self.stack()[before:]}
            left = []
            for event, opened in self._opened():
                if event in within or opened.parent in within:
                    within.add(event)
                    left.append(event)
            for event in reversed(left):
                self._close(event, error)
        except Exception as fault:
            self._report(fault)

    def _opened(self) -> list[tuple[str, Opened]]:
        return list(self._open.items())

    def _close(
        self, event: str | None, error: BaseException | None, content: Callable[[], Content] | None = None
    ) -> None:
        if event is not None and self._open.pop(event, None) is not None:
            self._runs.end(event, error, content)

    def _report(self, fault: Exception) -> None:
        internal_errors.report(f"handling an event of {self.framework}", fault)
