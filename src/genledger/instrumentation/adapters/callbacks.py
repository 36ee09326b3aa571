"""Frameworks that report their runs in callbacks: start, parent and end.

Nothing is attached in a callback. The adapter keeps the step of each open run, and a resolver gives the step of the
run that the framework says is current. A model run is no step: the provider's client makes the priced call, which
belongs to the run that the model was called in. Where no client of ours makes it, the framework's own usage is priced.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from opentelemetry.context import Context, get_current
from opentelemetry.trace import get_current_span

from genledger.context.scoped_context import Begun, async_steps_in_context, steps_in_context
from genledger.engine.operation import Body, Content, Endpoint, Operation
from genledger.engine.parents import parent_context
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step, start_step
from genledger.instrumentation.adapters.native_parents import add_resolver, remove_resolver
from genledger.instrumentation.patching import Hook, Wrapper
from genledger.shared import internal_errors

_C = TypeVar("_C")

MAX_OPEN = 10_000
"""Runs that are kept while they are open; the oldest are ended first, as runs that never end would pile up."""


_TOO_MANY = f"more than {MAX_OPEN} are open; the oldest was ended"


class ModelCall(NamedTuple):
    """Model call of a framework, recorded unless an instrumented client makes it."""

    operation: Operation
    library: str
    endpoint: Endpoint
    body: Body


class Unit(NamedTuple):
    """Run of a framework that gives it no kind; `agent` is its name as an agent, `node` that it is a graph's node."""

    name: str
    agent: str | None
    node: bool
    attributes: Mapping[str, Any]


class ModelRun:
    """Model call reported by a framework. The client's call that serves it claims it."""

    __slots__ = ("asked", "claimed", "parent", "started_ns")

    def __init__(self, parent: Any, asked: ModelCall) -> None:
        self.parent = parent
        self.asked = asked
        self.started_ns = time.time_ns()
        self.claimed = False


class _Run:
    """Run that has a step or, as plumbing, none.

    Attributes:
        parent: Id of the run around it.
        number: Runs that began before.
        start: Begins its step when something happens in it. A task waits for that: one that only wraps an agent of
            its name is plumbing.
        step: The step, once it has begun.
        wraps: Name of a task that waits.
    """

    __slots__ = ("number", "parent", "start", "step", "wraps")

    def __init__(self, parent: Any, number: int) -> None:
        self.parent = parent
        self.number = number
        self.start: Callable[[], Step] | None = None
        self.step: Step | None = None
        self.wraps: str | None = None


class Runs:
    """The open runs of a framework, by the ids that it gives them.

    Args:
        current: Returns the id of the run that the framework is in here, or `None`.

    Attributes:
        hooked: Whether the framework's hook is in place.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self.hooked = False
        self._current = current
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._runs: dict[Any, _Run] = {}
        self._models: dict[Any, ModelRun] = {}
        self._entered: ContextVar[tuple[Any, ...]] = ContextVar("genledger-entered-runs", default=())

    def hook(self, module: str, register: Callable[[ModuleType], Any]) -> Hook:
        """Return the hook of the module in which a framework takes callbacks.

        Args:
            module: Its name.
            register: Registers ours in it. Called once, as frameworks do not forget them: they have to do nothing
                while these runs are not `hooked`. What it returns is kept.
        """

        def install(found: ModuleType) -> None:
            self.hooked = True
            add_resolver(self.resolve)
            if not hasattr(found, "_genledger"):
                found._genledger = register(found)  # type: ignore[attr-defined]

        def remove(found: ModuleType) -> None:
            self.hooked = False
            remove_resolver(self.resolve)

        return Hook(module, install, remove)

    def step_of(self, run: Any) -> Step | None:
        """Return the step of a run, or of the nearest run around it that has one."""
        seen = 0
        while run is not None and seen < 100:
            found = self._runs.get(run)
            if found is None:
                return None
            step = found.step if found.wraps is None else self._begun(found)
            if step is not None:
                return step
            run = found.parent
            seen += 1
        return None

    def enter(self, *runs: Any) -> None:
        """Note, in the context of what they do, models' runs and such as the framework does not name itself.

        Nothing has to be taken back: a run counts while it is open.
        """
        still = (one for one in self._entered.get() if one in self._models or one in self._runs)
        self._entered.set((*still, *runs))

    def resolve(self) -> Step | None:
        """Return the step that a call made here belongs to: a resolver for `genledger.engine.parents`."""
        for entered in reversed(self._entered.get()):
            model = self._models.get(entered)
            if model is not None and not model.claimed:
                model.claimed = True
                return self.step_of(model.parent)
        return self.step_of(self._nearest(self._current()))

    def _nearest(self, run: Any) -> Any:
        """Return the run that is the nearest here: the given one, or one that was entered after it began."""
        for entered in reversed(self._entered.get()):
            found = self._runs.get(entered)
            if found is not None:
                around = self._runs.get(run)
                return run if around is not None and around.number > found.number else entered
        return run

    def start_unit(self, run: Any, parent: Any, unit: Unit, content: Callable[[], Content], **more: Any) -> None:
        """Begin a run that the framework gives no kind: an agent, a workflow, a task, or plumbing, which is no step.

        What happens in plumbing belongs to the run around it. A task's input is not recorded: it is the state of the
        workflow. `more` is as for `start`.
        """
        parent = self._nearest(parent)
        if unit.agent is not None:
            around = self._runs.get(parent)
            if around is not None and around.wraps == unit.agent:
                around.start = around.wraps = None
            self.start(run, parent, "agent", unit.agent, unit.attributes, content, **more)
        elif parent is None:
            self.start(run, None, "workflow", unit.name, unit.attributes, content, **more)
        else:
            found = self._keep(run, parent)
            if found is not None and unit.node:
                found.wraps = unit.name
                found.start = functools.partial(self._start_task, unit.name, parent, get_current(), time.time_ns())

    def pass_through(self, run: Any, parent: Any) -> None:
        """Begin a run that is no step: what happens in it belongs to the run around it."""
        self._keep(run, parent)

    def start(
        self,
        run: Any,
        parent: Any,
        kind: Kind,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        content: Content | Callable[[], Content] | None = None,
        **more: Any,
    ) -> None:
        """Begin the step of a run; nothing for a run that has begun already.

        `more` is what else `start_step` takes: the user, the session, a tool's signature.
        """
        parent = self._nearest(parent)
        kept = self._keep(run, parent)
        if kept is not None:
            context = self._context(parent, get_current())
            kept.step = start_step(kind, name, parent=context, attributes=attributes, content=content, **more)

    def end(
        self, run: Any, error: BaseException | None = None, content: Content | Callable[[], Content] | None = None
    ) -> None:
        """End the step of a run; nothing for a run that is not known."""
        with self._lock:
            found = self._runs.pop(run, None)
        step = self._begun(found) if found is not None else None
        if step is not None:
            if content is not None:
                step.write(content)
            step.end(error)

    def until_read(self, run: Any, stream: Any) -> Any:
        """Return the generator that a run ended with, which is read in the run's step; that ends with it.

        A generator that is dropped ends the step, too.
        """
        step = self.step_of(run)
        if step is None:
            return stream

        def begin(args: Any, kwargs: Any) -> Begun:
            return Begun(step.inside(get_current()), lambda error: self.end(run, error))

        in_step = async_steps_in_context if inspect.isasyncgen(stream) else steps_in_context
        followed = in_step(lambda: stream, begin)()
        weakref.finalize(followed, self.end, run).atexit = False
        return followed

    def start_model(self, run: Any, parent: Any, asked: ModelCall) -> None:
        """Note that a model is called."""
        if active() is None:
            return
        with self._lock:
            if run in self._models:
                return
            self._models[run] = ModelRun(self._nearest(parent), asked)
            if len(self._models) > MAX_OPEN:
                del self._models[next(iter(self._models))]
        self.enter(run)

    def end_model(
        self, run: Any, answer: Any = None, error: BaseException | None = None, *, cached: bool = False
    ) -> None:
        """Note that a model has answered, or failed; its usage is priced if no client's call was made for it.

        Nothing is paid for what the framework's cache answered.
        """
        with self._lock:
            model = self._models.pop(run, None)
        recorder = active()
        if model is None or model.claimed or recorder is None:
            return
        context = self._context(model.parent, get_current())
        call = recorder.open(*model.asked, context=context, started_ns=model.started_ns)
        if call is not None:
            call.local = "cache" if cached else None
            call.started -= (time.time_ns() - model.started_ns) / 1e9
            call.settle(answer, error=error)

    def _start_task(self, name: str, parent: Any, here: Context, started_ns: int) -> Step:
        context, around = self._context(parent, here), get_current_span(here)
        return start_step("task", name, parent=context, around=around, started_ns=started_ns)

    def _context(self, parent: Any, here: Context) -> Context:
        step = self.step_of(parent)
        if step is None:
            return parent_context()
        return step.within(here)

    def _begun(self, run: _Run) -> Step | None:
        if run.wraps is not None:
            with self._lock:
                start, run.start = run.start, None
                if start is not None:
                    run.step = start()
                    run.wraps = None
        return run.step

    def _keep(self, run: Any, parent: Any) -> _Run | None:
        """Keep a run that begins; `None` if it has begun already, or if nothing is recorded."""
        if active() is None:
            return None
        forgotten: Any = None
        begun = _Run(parent, next(self._numbers))
        with self._lock:
            kept = self._runs.setdefault(run, begun)
            if kept is not begun:
                return None
            if len(self._runs) > MAX_OPEN:
                forgotten = next(iter(self._runs))
        if forgotten is not None:
            self.end(forgotten)
            internal_errors.report("keeping the runs of a framework", RuntimeError(_TOO_MANY))
        return kept


def guarded(framework: str) -> Callable[[type[_C]], type[_C]]:
    """Return a decorator of a class of callbacks, whose `on_…` methods then never raise into the framework."""

    def decorate(cls: type[_C]) -> type[_C]:
        for name, method in list(vars(cls).items()):
            if name.startswith("on_"):
                setattr(cls, name, _guard(framework, method))
        return cls

    return decorate


def first(framework: str, act: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> Wrapper:
    """Return the wrapper of a method that is a callback: `act` is given its object and arguments, and then it runs."""
    callback = _guard(framework, act)

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        callback(instance, args, kwargs)
        return wrapped(*args, **kwargs)

    return wrapper


def then(framework: str, act: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> Wrapper:
    """Return the wrapper of a function after which a callback comes: `act` is given its result and its arguments."""
    callback = _guard(framework, act)

    def wrapper(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        callback(result, args, kwargs)
        return result

    return wrapper


def _guard(framework: str, act: Callable[..., None]) -> Callable[..., None]:
    def callback(*args: Any, **kwargs: Any) -> None:
        try:
            act(*args, **kwargs)
        except Exception as error:
            internal_errors.report(f"handling a callback of {framework}", error)

    return callback
