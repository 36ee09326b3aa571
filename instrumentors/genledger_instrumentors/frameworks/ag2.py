"""AG2 1.x: each turn of an agent, and a middleware of ours in it for tools and humans.

AG2 has a middleware with spans of its own. In an agent that has it, its spans are the structure.

https://docs.ag2.ai/latest/docs/beta/
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from genledger.engine.recorder import active
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.refusals import passing_refusals, raising_refusals
from genledger.instrumentation.adapters.stepped_functions import Described, SteppedCall, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches, wrapped_by
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

from ..formats.ag2_events import read_reply, read_request
from .ag2_middleware import middleware


def finish_turn(call: SteppedCall, reply: Any) -> None:
    """Write what an agent answered."""
    call.write(partial(read_reply, reply))


def has_spans_of_its_own(agent: Any, given: tuple[Any, ...]) -> bool:
    """Return whether AG2's own middleware for spans is among an agent's, or those of a turn."""
    made = (one.middleware for one in agent.middleware)
    return any(type(one).__name__ == "TelemetryMiddleware" for one in (*made, *given))


@asynccontextmanager
async def turn(wrapped: Any, agent: Any, event: Any, given: dict[str, Any]) -> AsyncIterator[Any]:
    """Open a turn of an agent, and give what runs it: as a step.

    Args:
        wrapped: Opens the turn.
        agent: The agent.
        event: What it is asked.
        given: Further arguments.
    """

    def describe(instance: Any, nothing: dict[str, Any]) -> Described:
        attributes = {A.GEN_AI_CONVERSATION_ID: str(given["context"].stream.id)}
        return Described("agent", agent.name, attributes, partial(read_request, event))

    async with wrapped(event, **given) as drive:
        yield wrapped_by(stepping(describe, finish_turn))(drive)


def turns(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what opens a turn."""
    added = tuple(kwargs.get("additional_middleware") or ())
    given = {**kwargs, "additional_middleware": added}
    try:
        if active() is None or has_spans_of_its_own(instance, added):
            return wrapped(*args, **given)
        return turn(wrapped, instance, args[0], {**given, "additional_middleware": (*added, middleware())})
    except Exception as fault:
        internal_errors.report("following a turn", fault)
        return wrapped(*args, **given)


def retries(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Wrap what calls a model again."""
    return passing_refusals("call_next")(wrapped, instance, (), named_arguments(wrapped, args, kwargs))


class Ag2Instrumentor(Instrumentor):
    """Records the structure of AG2's runs."""

    library = "ag2"
    distribution = "ag2"
    supports = "ag2 >= 1.2, < 2"

    def patches(self) -> Patches:
        """Return the patches of turns, and of what keeps errors from the application."""
        return [
            Patch("ag2.agent", "Agent._drive_scope", turns),
            Patch("ag2.events.tool_events", "ToolErrorEvent.from_call", raising_refusals),
            Patch("ag2.tools.subagents.run_task", "TaskResult.__init__", raising_refusals),
            Patch("ag2.middleware.builtin.llm_retry", "_RetryMiddleware.on_llm_call", retries),
        ]
