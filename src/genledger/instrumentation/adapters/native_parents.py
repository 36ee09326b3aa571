"""The parent of a native span that begins in a step of a framework which keeps to itself what it runs.

The library of the span, such as an MCP client, asks for what is current, and that is not the step: nothing is attached.
While there are such frameworks, the SDK's tracers ask the resolvers for it. Only spans of libraries in the table of
native scopes are joined: the application's own stay where they are, and so does what another instrumentation makes
of the same framework.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import Tracer

from genledger.engine import parents
from genledger.engine.foreign_spans.native_scopes import neighbour_of, row_of
from genledger.engine.parents import Resolver
from genledger.shared import internal_errors
from genledger.shared.private_attributes import scope_of

_replacement: Any = None


def add_resolver(resolver: Resolver) -> None:
    """Ask `resolver` for the parent of every call and step, and of native spans. Adding it again changes nothing."""
    global _replacement
    parents.add_resolver(resolver)
    if _replacement is None:
        _replacement = _in_steps(Tracer.start_span)
        Tracer.start_span = _replacement  # type: ignore[method-assign]


def remove_resolver(resolver: Resolver) -> None:
    """Ask `resolver` no more.

    With the last one, put back what was there, unless another instrumentation is on top of it: then nothing changes.
    """
    global _replacement
    parents.remove_resolver(resolver)
    if not parents.has_resolvers() and vars(Tracer).get("start_span") is _replacement is not None:
        Tracer.start_span = _replacement.__wrapped__  # type: ignore[method-assign]
        _replacement = None


def _in_steps(start: Any) -> Any:
    @wraps(start)
    def start_span(tracer: Any, name: str, context: Context | None = None, *args: Any, **kwargs: Any) -> Any:
        if context is None:
            context = _inside_step(tracer)
        return start(tracer, name, context, *args, **kwargs)

    return start_span


def _inside_step(tracer: Any) -> Context | None:
    try:
        scope = scope_of(tracer)
        if scope is None or row_of(scope) is None:
            return None
        beside = neighbour_of(scope)
        structure = beside is not None and beside.spans != "calls"
        return None if structure else parents.step_context(get_current())
    except Exception as error:
        internal_errors.report("finding the parent of a native span", error)
        return None
