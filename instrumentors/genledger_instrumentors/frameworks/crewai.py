"""CrewAI: crews and flows, their tasks, agents, tools, knowledge and memory, through its event bus.

Its events are emitted where things happen, and have their parents on a stack in a context variable of its own.
Listeners that it has a hook for run in other threads.

https://docs.crewai.com/en/concepts/event-listener
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from genledger.budgets.enforcement.exceeded import BudgetExceeded
from genledger.engine.operation import Content
from genledger.engine.parents import add_resolver, remove_resolver
from genledger.engine.recorder import active
from genledger.instrumentation.adapters.callbacks import MAX_OPEN, Runs
from genledger.instrumentation.adapters.methods import named_arguments, of_both_kinds
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Hook, Patch, Patches
from genledger.shared import internal_errors

from ..formats.crewai_events import read_begin, read_end, read_error

CONTEXT = "crewai.events.event_context"
"""The module that knows which events are open here."""

SWALLOWING = ("tool_usage_error", "knowledge_search_query_failed", "knowledge_query_failed", "memory_query_failed")
"""Events after whose errors CrewAI goes on."""

RUNNING = (
    *(("crewai.crew", f"Crew.{name}") for name in ("kickoff", "akickoff")),
    ("crewai.flow.runtime", "Flow.kickoff_async"),
    *(("crewai.agent.core", f"Agent.{name}") for name in ("kickoff", "kickoff_async")),
)
"""What runs a crew, a flow or an agent, and ends when that is cancelled."""

Stack = tuple[tuple[str, str], ...]
"""Ids and types of the events that are open here, from the outermost inwards."""


def _stack() -> Stack:
    return sys.modules[CONTEXT]._event_id_stack.get()


def current_run() -> Any:
    """Return the id of the event that began the innermost step here."""
    return next((event for event, _ in reversed(_stack()) if RUNS.step_of(event) is not None), None)


RUNS = Runs(current_run)


class Opened(NamedTuple):
    """Event that began a step: its type, the `id` of what emitted it, and the event of the step around it."""

    type: str
    source: int
    parent: str | None


OPEN: dict[str, Opened] = {}
"""Events whose steps have not ended, by id, in the order that they came."""


def emitted(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what emits an event: it begins a step, or ends one with all that was left open in it.

    CrewAI emits what failed in memory, knowledge or a tool while it handles the error, and then goes on without. A
    refusal ends the run there.
    """
    if active() is None:
        return wrapped(*args, **kwargs)
    before: Stack = ()
    parent: Any = None
    refusal: BudgetExceeded | None = None
    try:
        before, parent = _stack(), current_run()
    except Exception as fault:
        internal_errors.report("handling an event of crewai", fault)
    result = wrapped(*args, **kwargs)
    try:
        given = named_arguments(wrapped, args, kwargs)
        source, event = given.get("source"), given["event"]
        begun = read_begin(source, event, before[-1][1] if before else None)
        if begun is not None:
            about = begun.attributes, begun.content
            RUNS.start(event.event_id, parent, begun.kind, begun.name, *about, signature=begun.signature)
            OPEN[event.event_id] = Opened(event.type, id(source), parent)
            if len(OPEN) > MAX_OPEN:
                OPEN.pop(next(iter(OPEN)), None)
        error = _end(source, event, before)
        if event.type in SWALLOWING:
            refusal = refusal_in(error)
    except Exception as fault:
        internal_errors.report("handling an event of crewai", fault)
    if refusal is not None:
        raise stopping(refusal)
    return result


def _end(source: Any, event: Any, before: Stack) -> BaseException | None:
    """End the step that an event ends, and those within that CrewAI has forgotten; return the error it ends with.

    Where CrewAI ends a model's call twice, the event that began the step is off the stack by then.
    """
    begins = sys.modules[CONTEXT].VALID_EVENT_PAIRS.get(event.type)
    if begins is None:
        return None
    here = next((at for at in reversed(range(len(before))) if before[at][1] == begins), len(before))
    asked = (begins, id(source))
    begun = before[here][0] if here < len(before) else next((one for one, at in opened() if at[:2] == asked), None)
    error = read_error(event)
    for within, _ in reversed(before[here + 1 :]):
        _close(within, error)
    _close(begun, error, read_end(event))
    return error


def opened() -> list[tuple[str, Opened]]:
    """Return the events whose steps have not ended, the last one first."""
    return list(OPEN.items())[::-1]


def _close(begun: str | None, error: BaseException | None, content: Content | None = None) -> None:
    if begun is not None and OPEN.pop(begun, None) is not None:
        RUNS.end(begun, error, content)


def left(before: Stack, error: BaseException) -> None:
    """End the steps of a run that was left without a word: CrewAI emits nothing of what is no `Exception`."""
    try:
        after = _stack()
        if len(after) <= len(before):
            return
        within = {after[len(before)][0]}
        for begun, at in opened()[::-1]:
            if at.parent in within:
                within.add(begun)
        for begun, _ in opened():
            if begun in within:
                _close(begun, error)
    except Exception as fault:
        internal_errors.report("ending a run of crewai", fault)


def runs(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what runs a crew, a flow or an agent."""
    before = _stack()
    try:
        return wrapped(*args, **kwargs)
    except Exception:
        raise
    except BaseException as error:
        left(before, error)
        raise


async def runs_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap a coroutine function that does."""
    before = _stack()
    try:
        return await wrapped(*args, **kwargs)
    except Exception:
        raise
    except BaseException as error:
        left(before, error)
        raise


def refusal_in(error: BaseException | None) -> BudgetExceeded | None:
    """Return the refusal that an error is, or was raised because of; not one of those that `stopping` makes."""
    for _ in range(100):
        if error is None or type(error) is BudgetExceeded:
            return error
        error = error.__cause__ or error.__context__
    return None


def stopping(refusal: BudgetExceeded) -> BudgetExceeded:
    """Return a refusal that is one of the errors after which CrewAI does not go on."""
    aborted = sys.modules["crewai.hooks.dispatch"].HookAborted
    stop = type(BudgetExceeded.__name__, (BudgetExceeded, aborted), {"__module__": BudgetExceeded.__module__})
    made: BudgetExceeded = stop.__new__(stop, *refusal.args)
    vars(made).update(vars(refusal), reason=str(refusal), source="genledger")
    made.__cause__ = refusal
    return made


def is_transient(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what tells whether a model's error is one to wait after: a refusal has a status that looks like it."""
    error = next(iter((*args, *kwargs.values())), None)
    return refusal_in(error) is None and wrapped(*args, **kwargs)


def failed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what raises the error of an agent, or returns for the agent to try again: not after a refusal."""
    refusal = refusal_in(args[0] if args else kwargs.get("e"))
    if refusal is None:
        return wrapped(*args, **kwargs)
    wrapped(refusal, *args[1:], **{name: value for name, value in kwargs.items() if name != "e"})
    raise refusal


class CrewAIInstrumentor(Instrumentor):
    """Records the structure of the runs of CrewAI's crews, flows and agents."""

    library = "crewai"
    distribution = "crewai"
    supports = "crewai >= 1.15, < 2"

    def patches(self) -> Patches:
        """Return the patches of the event bus and of what decides about trying again."""
        return [
            Hook(CONTEXT, lambda found: add_resolver(RUNS.resolve), lambda found: remove_resolver(RUNS.resolve)),
            Patch("crewai.events.event_bus", "CrewAIEventsBus.emit", emitted),
            Patch("crewai.llms.retry", "_ThrottlingErrorClassifier.is_throttling_error", is_transient),
            Patch("crewai.agent.core", "Agent._check_execution_error", failed),
            *(Patch(module, path, of_both_kinds(runs, runs_async)) for module, path in RUNNING),
        ]
