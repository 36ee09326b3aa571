"""Frameworks that report their runs in callbacks: start, parent and end.

Nothing is attached in a callback. The adapter keeps the step of each open run, and a resolver gives the step of the
run that the framework says is current. A model run is no step: the provider's client makes the priced call, which
belongs to the run that the model was called in. Where no client of ours makes it, the framework's own usage is priced.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from opentelemetry.context import Context, get_current

from genledger.engine.operation import Body, Content, Endpoint, Operation
from genledger.engine.parents import add_resolver, parent_context, remove_resolver
from genledger.engine.recorder import active
from genledger.engine.steps import Kind, Step, start_step
from genledger.instrumentation.patching import Hook, Wrapper
from genledger.shared import internal_errors

_C = TypeVar("_C")

MAX_OPEN = 10_000
"""Runs that are kept while they are open; the oldest are ended first, as runs that never end would pile up."""


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

    __slots__ = ("asked", "claimed", "ended", "parent", "started_ns")

    def __init__(self, parent: Step | None, asked: ModelCall) -> None:
        self.parent = parent
        self.asked = asked
        self.started_ns = time.time_ns()
        self.claimed = False
        self.ended = False


class Runs:
    """The open runs of a framework, by the ids that it gives them.

    Args:
        current: Returns the id of the run that the framework is in here, or `None`.
    """

    def __init__(self, current: Callable[[], Any]) -> None:
        self._current = current
        self._lock = threading.Lock()
        self._steps: OrderedDict[Any, Step | None] = OrderedDict()
        self._parents: dict[Any, Any] = {}
        self._models: OrderedDict[Any, ModelRun] = OrderedDict()
        self._model: ContextVar[ModelRun | None] = ContextVar("genledger-model-run", default=None)

    def hook(self, module: str, register: Callable[[ModuleType], Any]) -> Hook:
        """Return the hook of the module in which a framework takes callbacks.

        Args:
            module: Its name.
            register: Registers ours in it. Called once, as frameworks do not forget them: they do nothing while nothing
                is recorded. What it returns is kept.
        """

        def install(found: ModuleType) -> None:
            add_resolver(self.resolve)
            if not hasattr(found, "_genledger"):
                found._genledger = register(found)  # type: ignore[attr-defined]

        return Hook(module, install, lambda found: remove_resolver(self.resolve))

    def step_of(self, run: Any) -> Step | None:
        """Return the step of a run, or of the nearest run around it that has one."""
        seen = 0
        while run is not None and seen < 100:
            step = self._steps.get(run)
            if step is not None:
                return step
            run = self._parents.get(run)
            seen += 1
        return None

    def resolve(self) -> Step | None:
        """Return the step that a call made here belongs to: a resolver for `genledger.engine.parents`."""
        model = self._model.get()
        if model is not None and not model.ended:
            model.claimed = True
            return model.parent
        return self.step_of(self._current())

    def start_unit(self, run: Any, parent: Any, unit: Unit, content: Callable[[], Content]) -> None:
        """Begin a run that the framework gives no kind: an agent, a workflow, a task, or plumbing, which is no step.

        What happens in plumbing belongs to the run around it. A task's input is not recorded: it is the state of the
        workflow.
        """
        if unit.agent is not None:
            self.start(run, parent, "agent", unit.agent, unit.attributes, content)
        elif parent is None:
            self.start(run, None, "workflow", unit.name, unit.attributes, content)
        elif unit.node:
            self.start(run, parent, "task", unit.name)
        else:
            self.pass_through(run, parent)

    def pass_through(self, run: Any, parent: Any) -> None:
        """Begin a run that is no step: what happens in it belongs to the run around it."""
        if active() is not None and run not in self._steps:
            self._keep(run, parent, None)

    def start(
        self,
        run: Any,
        parent: Any,
        kind: Kind,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        content: Content | Callable[[], Content] | None = None,
        signature: str | None = None,
        session: object = None,
    ) -> None:
        """Begin the step of a run, with the attributes that are not empty; nothing for a run that has begun already.

        `signature` and `session` are as `start_step` takes them.
        """
        if active() is None or run in self._steps:
            return
        found = {key: value for key, value in (attributes or {}).items() if value}
        step = start_step(
            kind,
            name,
            parent=self._context(parent),
            attributes=found,
            content=content,
            signature=signature,
            session=session,
        )
        self._keep(run, parent, step)

    def end(
        self, run: Any, error: BaseException | None = None, content: Content | Callable[[], Content] | None = None
    ) -> None:
        """End the step of a run; nothing for a run that is not known."""
        with self._lock:
            step = self._steps.pop(run, None)
            self._parents.pop(run, None)
        if step is not None:
            if content is not None:
                step.write(content)
            step.end(error)

    def start_model(self, run: Any, parent: Any, asked: ModelCall) -> None:
        """Note that a model is called."""
        model = ModelRun(self.step_of(parent), asked)
        with self._lock:
            self._models[run] = model
            if len(self._models) > MAX_OPEN:
                self._models.popitem(last=False)[1].ended = True
        self._model.set(model)

    def end_model(self, run: Any, answer: Any = None, error: BaseException | None = None) -> None:
        """Note that a model has answered, or failed; its usage is priced if no client's call was made for it."""
        with self._lock:
            model = self._models.pop(run, None)
        recorder = active()
        if model is None or model.ended:
            return
        model.ended = True
        if recorder is None or model.claimed:
            return
        context = model.parent.inside(get_current()) if model.parent is not None else None
        call = recorder.open(*model.asked, context=context or get_current(), started_ns=model.started_ns)
        if call is not None:
            call.started -= (time.time_ns() - model.started_ns) / 1e9
            call.settle(answer, error=error)

    def _context(self, parent: Any) -> Context:
        step = self.step_of(parent)
        return step.inside(get_current()) if step is not None else parent_context()

    def _keep(self, run: Any, parent: Any, step: Step | None) -> None:
        forgotten: Step | None = None
        with self._lock:
            self._steps[run] = step
            if parent is not None:
                self._parents[run] = parent
            if len(self._steps) > MAX_OPEN:
                old, forgotten = self._steps.popitem(last=False)
                self._parents.pop(old, None)
        if forgotten is not None:
            forgotten.end()


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
