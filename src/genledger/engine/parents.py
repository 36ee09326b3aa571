"""Who the parent of a call or step is, where a framework keeps that to itself.

Frameworks name their running step in a context variable of their own. A resolver asks for it, so that nothing has
to be attached in their callbacks, where it would leak into whatever runs next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.context import Context, get_current
from opentelemetry.trace import get_current_span

from genledger.engine.foreign_spans.places import shown_id, within
from genledger.shared import internal_errors

if TYPE_CHECKING:
    from genledger.engine.steps import Step

Resolver = Callable[[], "Step | None"]
"""Returns the step that a framework is running here, or `None`."""

_resolvers: tuple[Resolver, ...] = ()


def add_resolver(resolver: Resolver) -> None:
    """Ask `resolver` for the parent of every call and step from now on. Adding it again changes nothing."""
    global _resolvers
    if resolver not in _resolvers:
        _resolvers = (*_resolvers, resolver)


def remove_resolver(resolver: Resolver) -> None:
    """Ask `resolver` no more."""
    global _resolvers
    _resolvers = tuple(one for one in _resolvers if one != resolver)


def has_resolvers() -> bool:
    """Return whether any resolver is asked."""
    return bool(_resolvers)


def step_context(here: Context) -> Context | None:
    """Return a context with the step that a framework is running in it.

    There is none where a span was made current since the step began that is shown: that one is nearer.
    """
    for resolver in _resolvers:
        try:
            step = resolver()
            if step is not None and shown_id(get_current_span(here)) == shown_id(step.around):
                return step.inside(here)
        except Exception as error:
            internal_errors.report("finding the parent of a call", error)
    return None


def parent_context() -> Context:
    """Return the context that a call or step made here belongs in.

    A framework's step is the parent, if one runs. What is current may be the span of a framework that records its own
    work: what begins here is in its run.
    """
    here = get_current()
    inside = step_context(here)
    return within(here) if inside is None else inside
