"""Spans that a client's wrapper starts for a call without making them current.

Langfuse's wrapper of the OpenAI client (`langfuse.openai`) is one. Its span stands for the same call as ours, so it
becomes the parent of ours: both are in one trace, and only ours is priced.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import Span as AnySpan
from opentelemetry.trace import get_current_span, set_span_in_context

from genledger.engine.operation import Attributes

_SCOPE = "langfuse-sdk"
_TYPE = "langfuse.observation.type"
_MODEL = "langfuse.observation.model.name"
_PROMPT = ("langfuse.observation.prompt.name", "langfuse.observation.prompt.version")


class _Wrapper(NamedTuple):
    span: weakref.ref[Span]
    around: AnySpan


_latest: ContextVar[_Wrapper | None] = ContextVar("genledger-wrapper", default=None)
"""The span that was started last in this thread or task, and the one that was current then."""


def note_wrapper(span: Span, context: Context) -> None:
    """Remember a span that has just started, if it may be a wrapper's. What it stands for is written to it later."""
    scope = span.instrumentation_scope
    if scope is not None and scope.name == _SCOPE:
        _latest.set(_Wrapper(weakref.ref(span), get_current_span(context)))


def inside_wrapper(context: Context, model: object, attributes: Attributes) -> Context:
    """Return `context` with the wrapper's span of a call that is about to start, or as it is when there is none.

    Args:
        context: The context that the call belongs in.
        model: The model that it asks for.
        attributes: Of the call's span; gets the prompt that the wrapper was given, as what is priced is to have it.
    """
    wrapper = _latest.get()
    if wrapper is None:
        return context
    span = wrapper.span()
    if span is None or not span.is_recording():
        _latest.set(None)
        return context
    given = span.attributes or {}
    if (
        get_current_span(context) is not wrapper.around
        or given.get(_TYPE) not in ("generation", "embedding")
        or given.get(_MODEL) != model
    ):
        return context
    _latest.set(None)  # one call: the next has a span of its own, or none
    attributes.update({name: value for name, value in given.items() if name in _PROMPT})
    return set_span_in_context(span, context)
