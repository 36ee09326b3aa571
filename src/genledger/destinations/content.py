"""A copy of a span without what users typed or models wrote."""

from __future__ import annotations

from functools import cache

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AnyValue, Attributes

from genledger_semconv import attributes as A
from genledger_semconv.registry import registry

_MAY_QUOTE = frozenset({A.DB_QUERY_TEXT, A.EXCEPTION_MESSAGE, A.EXCEPTION_STACKTRACE, A.GEN_AI_EVALUATION_EXPLANATION})
"""Attributes that are not content themselves but quote it."""


def without_content(span: ReadableSpan) -> ReadableSpan:
    """A copy with only those attributes that the registry knows and does not count as content.

    Whatever is not known is left out: a new name must not become a leak. Links are left out, and the text
    of the status, which repeats what a provider said about a request.
    """
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_known(span.attributes),
        events=[Event(event.name, _known(event.attributes), event.timestamp) for event in span.events],
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _known(attributes: Attributes) -> dict[str, AnyValue]:
    return {key: value for key, value in (attributes or {}).items() if _is_harmless(key)}


@cache
def _is_harmless(key: str) -> bool:
    known = registry().attribute(key)
    return known is not None and not known.content and key not in _MAY_QUOTE
