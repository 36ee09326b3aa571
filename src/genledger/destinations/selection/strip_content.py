"""Copies of spans without what must not go where they go."""

from __future__ import annotations

from functools import cache

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Status
from opentelemetry.util.types import AnyValue, Attributes

from genledger.engine.content.redaction import MAX_MESSAGE, MAX_NAME, stage
from genledger.shared.copied_span import copied
from genledger_semconv import attributes as A

_MAY_QUOTE = frozenset({A.DB_QUERY_TEXT, A.EXCEPTION_MESSAGE, A.EXCEPTION_STACKTRACE, A.GEN_AI_EVALUATION_EXPLANATION})
"""Attributes that are not content themselves but quote it."""


MAX_STACKTRACE = 32 * 1024
"""Bytes of a stack trace."""

_SAID = {
    A.ERROR_TYPE: MAX_NAME,
    "error.message": MAX_MESSAGE,
    A.EXCEPTION_MESSAGE: MAX_MESSAGE,
    A.EXCEPTION_STACKTRACE: MAX_STACKTRACE,
}
"""Attributes that hold what an error said, and the bytes that they may have."""


def without_content(span: ReadableSpan) -> ReadableSpan:
    """Return a copy with only those attributes that the registry knows and does not count as content.

    Whatever is not known is left out: a new name must not become a leak. Links are left out, and the text
    of the status, which repeats what a provider said about a request.
    """
    return copied(
        span,
        attributes=_known(span.attributes),
        events=[Event(event.name, _known(event.attributes), event.timestamp) for event in span.events],
        status=Status(span.status.status_code),
        links=(),
    )


def without_secrets(span: ReadableSpan) -> ReadableSpan:
    """Return a copy with what errors said redacted and bounded, or the span itself when it has no such text.

    Spans of Genledger are redacted when they are written; this is for all others that are sent with them.
    """
    status, events, attributes = span.status, span.events, span.attributes or {}
    if status.description is None and not events and attributes.keys().isdisjoint(_SAID):
        return span
    description = stage().message(status.description) if status.description is not None else None
    return copied(
        span,
        attributes=_redacted(span.attributes),
        events=[Event(event.name, _redacted(event.attributes), event.timestamp) for event in events],
        status=Status(status.status_code, description),
    )


def _redacted(attributes: Attributes) -> Attributes:
    return {
        key: stage().message(value, _SAID[key]) if key in _SAID and isinstance(value, str) else value
        for key, value in (attributes or {}).items()
    }


def _known(attributes: Attributes) -> dict[str, AnyValue]:
    return {key: value for key, value in (attributes or {}).items() if _is_harmless(key)}


@cache
def _is_harmless(key: str) -> bool:
    from genledger_semconv.registry import registry  # which most processes have no use for

    known = registry().attribute(key)
    return known is not None and not known.content and key not in _MAY_QUOTE
