"""OpenTelemetry's own switch: nothing in a context where it is thrown is to be instrumented."""

from __future__ import annotations

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Span, get_current_span

from genledger.engine.foreign_spans.places import is_around_call
from genledger.shared.private_attributes import suppression_keys

_KEYS = frozenset(suppression_keys())


def _is_thrown(context: Context) -> bool:
    return any(map(context.get, _KEYS))


def recordable(context: Context) -> Context | None:
    """Return the context in which a call made in `context` is recorded; `None` where it is not to be.

    Another instrumentation of the same client, such as Logfire's, throws the switch inside of its span of a call. That
    keeps others from recording the call again. It is not the application's wish, and its span is not shown beside ours.
    """
    if not _is_thrown(context):
        return context
    if not is_around_call(get_current_span(context)):
        return None
    return Context({key: value for key, value in context.items() if key not in _KEYS})


def as_suppressed(context: Context, here: Context) -> Context:
    """Return `context` with the switch as it is `here`: what a call does inside may be instrumented by others."""
    if not _is_thrown(here):
        return context
    return Context({**context, **{key: value for key, value in here.items() if key in _KEYS}})


def end_span(span: Span) -> None:
    """End the span of a call that is recorded. Where the switch is thrown, processors would not listen to it."""
    here = get_current()
    context = recordable(here)
    if context is None or context is here:
        span.end()
        return
    attach(context)
    try:
        span.end()
    finally:
        attach(here)
