"""CrewAI: crews and flows, their tasks, agents, tools, knowledge and memory, through its event bus.

Listeners that it has a hook for run in other threads.

https://docs.crewai.com/en/concepts/event-listener
"""

from __future__ import annotations

import sys
from typing import Any

from genledger.instrumentation.adapters.event_scopes import EventScopes, Stack
from genledger.instrumentation.adapters.refusals import as_error_of, first_refusal_in
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches

from ..formats.crewai_events import read_begin, read_end, read_error

CONTEXT = "crewai.events.event_context"
"""The module that knows which events are open here."""

SWALLOWING = ("tool_usage_error", "knowledge_search_query_failed", "knowledge_query_failed", "memory_query_failed")
"""Events after whose errors CrewAI goes on."""


def stack() -> Stack:
    """Return the events that are open here."""
    return sys.modules[CONTEXT]._event_id_stack.get()


def begins(ending: str) -> str | None:
    """Return the type of the event that one of another type ends."""
    return sys.modules[CONTEXT].VALID_EVENT_PAIRS.get(ending)


def stops(event: Any, error: BaseException | None) -> BaseException | None:
    """Return an error after which CrewAI does not go on, for a refusal after which it would."""
    refusal = first_refusal_in(error) if event.type in SWALLOWING else None
    if refusal is None:
        return None
    aborted = sys.modules["crewai.hooks.dispatch"].HookAborted
    return as_error_of(refusal, aborted, reason=str(refusal), source="genledger")


def is_transient(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what tells whether a model's error is one to wait after: a refusal has a status that looks like it."""
    return first_refusal_in(next(iter((*args, *kwargs.values())), None)) is None and wrapped(*args, **kwargs)


def failed(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what raises the error of an agent, or returns for the agent to try again: not after a refusal."""
    refusal = first_refusal_in(args[0]) if args else None
    if refusal is None:
        return wrapped(*args, **kwargs)
    wrapped(refusal, *args[1:], **kwargs)
    raise refusal


SCOPES = EventScopes("crewai", stack, begins, read_begin, read_error, read_end, stops)


class CrewAIInstrumentor(Instrumentor):
    """Records the structure of the runs of CrewAI's crews, flows and agents."""

    library = "crewai"
    distribution = "crewai"
    supports = "crewai >= 1.15.21, < 2"

    def patches(self) -> Patches:
        """Return the patches of the event bus, of what runs, and of what decides about trying again."""
        return [
            SCOPES.hook(CONTEXT),
            SCOPES.emits("crewai.events.event_bus", "CrewAIEventsBus.emit"),
            *(SCOPES.runs("crewai.crew", f"Crew.{name}") for name in ("kickoff", "akickoff")),
            *(SCOPES.runs("crewai.agent.core", f"Agent.{name}") for name in ("kickoff", "kickoff_async")),
            SCOPES.runs("crewai.flow.runtime", "Flow.kickoff_async"),
            Patch("crewai.llms.retry", "_ThrottlingErrorClassifier.is_throttling_error", is_transient),
            Patch("crewai.agent.core", "Agent._check_execution_error", failed),
        ]
