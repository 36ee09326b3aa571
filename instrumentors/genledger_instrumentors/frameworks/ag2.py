"""AG2 1.x: each turn of an agent, and a middleware of ours in it for tools and humans.

AG2 has a middleware with spans of its own. In an agent that has it, its spans are the structure.

https://docs.ag2.ai/latest/docs/beta/
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import wrapt

from genledger.engine.recorder import active
from genledger.engine.steps import tool_signature
from genledger.instrumentation.adapters.methods import named_arguments
from genledger.instrumentation.adapters.refusals import passing_refusals, raising_refusals
from genledger.instrumentation.adapters.stepped_functions import Described, SteppedCall, stepping
from genledger.instrumentation.instrumentor import Instrumentor
from genledger.instrumentation.patching import Patch, Patches
from genledger.shared import internal_errors
from genledger_semconv import attributes as A

from ..formats.ag2_events import read_arguments, read_reply, read_request, read_tool_result


def describe_tool(middleware: Any, given: dict[str, Any]) -> Described:
    """Return what a tool's run is."""
    event = given["event"]
    return Described(
        "tool",
        event.name,
        {A.GEN_AI_TOOL_CALL_ID: event.id},
        partial(read_arguments, event),
        tool_signature(event.name, event.arguments),
    )


def finish_tool(call: SteppedCall, result: Any) -> BaseException | None:
    """Write what a tool gave; return the error that this tells of."""
    call.write(partial(read_tool_result, result))
    error = getattr(result, "error", None)
    return error if isinstance(error, BaseException) else None


def finish_turn(call: SteppedCall, reply: Any) -> None:
    """Write what an agent answered."""
    call.write(partial(read_reply, reply))


class Middleware:
    """Middleware for AG2, mixed into its `BaseMiddleware` once that is imported."""

    @wrapt.decorator(stepping(describe_tool, finish_tool))
    async def on_tool_execution(self, call_next: Any, event: Any, context: Any) -> Any:
        """Run a tool; its errors come back as results."""
        return await call_next(event, context)

    @wrapt.decorator(stepping(lambda middleware, given: Described("task", "human input")))
    async def on_human_input(self, call_next: Any, event: Any, context: Any) -> Any:
        """Wait for a human's answer."""
        return await call_next(event, context)


@cache
def middleware() -> Any:
    """Return the middleware's class."""
    return type("GenledgerMiddleware", (Middleware, sys.modules["ag2.middleware.base"].BaseMiddleware), {})


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
        yield wrapt.FunctionWrapper(drive, stepping(describe, finish_turn))


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
