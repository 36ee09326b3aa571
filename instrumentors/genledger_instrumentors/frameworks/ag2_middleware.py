"""The middleware of ours that runs in each turn of an agent of AG2's: tools, and waits for humans.

https://docs.ag2.ai/latest/docs/beta/
"""

from __future__ import annotations

import sys
from functools import cache, partial
from typing import Any

from genledger.engine.tool_signatures import tool_signature
from genledger.instrumentation.adapters.stepped_functions import Described, SteppedCall, stepping
from genledger.instrumentation.patching import wrapped_by
from genledger_semconv import attributes as A

from ..formats.ag2_events import read_arguments, read_tool_result


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


class Middleware:
    """Middleware for AG2, mixed into its `BaseMiddleware` once that is imported."""

    @wrapped_by(stepping(describe_tool, finish_tool))
    async def on_tool_execution(self, call_next: Any, event: Any, context: Any) -> Any:
        """Run a tool; its errors come back as results."""
        return await call_next(event, context)

    @wrapped_by(stepping(lambda middleware, given: Described("task", "human input")))
    async def on_human_input(self, call_next: Any, event: Any, context: Any) -> Any:
        """Wait for a human's answer."""
        return await call_next(event, context)


@cache
def middleware() -> Any:
    """Return the middleware's class."""
    return type("GenledgerMiddleware", (Middleware, sys.modules["ag2.middleware.base"].BaseMiddleware), {})
